//! Access to files, and to ports of TCP (Landlock). Rules name files and folders by what they are when a process is confined: a file that
//! takes the place of another one is a different file, unless its folder is allowed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};

/// The newest version of Landlock whose restrictions are asked for: the same on each kernel that has it.
const VERSION: ABI = ABI::V6;

/// Devices without memory and without effects.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What the loader of programs is called; to execute a program takes the right to execute its loader.
#[cfg(target_arch = "x86_64")]
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
#[cfg(target_arch = "aarch64")]
const LOADER: &str = "/lib/ld-linux-aarch64.so.1";
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const LOADER: &str = "/lib/ld.so.1";

/// Confines this thread, and those that it starts, to these files. Those that do not exist are left out. Without
/// `network`, no socket can be bound or connected, also none that the process has.
pub fn apply(read: &[&Path], write: &[PathBuf], execute: &[PathBuf], network: bool) -> Result<()> {
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let run: BitFlags<AccessFs> = look | AccessFs::Execute;
    let devices = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let loader = (!execute.is_empty()).then_some(LOADER);
    let confine = || {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(VERSION))?;
        let ruleset = match network {
            true => ruleset,
            false => ruleset.handle_access(AccessNet::from_all(VERSION))?,
        };
        ruleset
            .scope(Scope::from_all(VERSION))?
            .create()?
            .add_rules(path_beneath_rules(read, look))?
            .add_rules(path_beneath_rules(DEVICES, devices))?
            .add_rules(path_beneath_rules(write, look | writing()))?
            .add_rules(path_beneath_rules(execute, run))?
            .add_rules(path_beneath_rules(loader, run))?
            .restrict_self()
    };
    confine().map(drop).context("the kernel rejects the rules for files")
}

/// All that changes files and folders, but makes no devices.
fn writing() -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_write(VERSION) & !devices
}

/// The version of Landlock that this kernel has, up to the one that is asked for; 0: none.
pub fn version() -> u8 {
    const VERSIONS: [(u8, ABI); 6] =
        [(1, ABI::V1), (2, ABI::V2), (3, ABI::V3), (4, ABI::V4), (5, ABI::V5), (6, ABI::V6)];
    let has = |abi: ABI| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let ruleset = ruleset.handle_access(AccessFs::from_all(abi));
        let ruleset = match abi {
            ABI::V4 | ABI::V5 | ABI::V6 => {
                ruleset.and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
            }
            _ => ruleset,
        };
        let ruleset = match abi {
            ABI::V6 => ruleset.and_then(|ruleset| ruleset.scope(Scope::from_all(abi))),
            _ => ruleset,
        };
        ruleset.and_then(Ruleset::create).is_ok()
    };
    VERSIONS.iter().rev().find(|(_, abi)| has(*abi)).map_or(0, |(number, _)| *number)
}
