//! `callsign completions` and `callsign man`: what shells and `man` know of the command line, generated from it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::cli::Cli;
use super::output::print;
use crate::system::sanitize::sanitize_line;

const PROGRAM: &str = "callsign";

/// Options of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsOptions {
    /// Shell to write the script for
    shell: Shell,
}

/// Options of `man`.
#[derive(Debug, Clone, Args)]
pub struct ManOptions {
    /// Folder for the pages; it is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints a script that completes the command line.
pub fn completions(options: &CompletionsOptions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), PROGRAM, &mut script);
    print(&String::from_utf8(script).context("the script is not UTF-8")?)
}

/// Writes a manual page for the program and one for each command, and prints where they are.
pub fn man(options: &ManOptions) -> Result<()> {
    let folder = &options.folder;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let commands: Vec<&Command> = std::iter::once(&program).chain(program.get_subcommands()).collect();
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    for command in &commands {
        let man = Man::new((*command).clone()).manual("Callsign Manual").source(SOURCE);
        write(&folder.join(man.get_filename()), &man, command)?;
    }
    let folder = sanitize_line(&folder.to_string_lossy());
    print(&format!("wrote {} pages to {folder}; read one with man -l {folder}/{PROGRAM}.1\n", commands.len()))
}

const SOURCE: &str = concat!("callsign ", env!("CARGO_PKG_VERSION"));

fn write(file: &Path, man: &Man, command: &Command) -> Result<()> {
    let page = page(man, command).context("a page cannot be made")?;
    fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))
}

fn page(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(help) = command.get_after_long_help() {
        examples(&help.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

/// The examples of the help, in which a command is indented by two spaces, and what it does by more.
fn examples(help: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for line in help.lines().skip(1) {
        match line.strip_prefix("   ") {
            Some(explanation) => _ = roff.text([roman(explanation.trim_start())]),
            None => {
                roff.control("TP", []);
                roff.text([bold(line.trim_start())]);
            }
        }
    }
    roff
}
