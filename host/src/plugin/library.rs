//! dlopen: turns a checked file into function addresses. The only place that loads code.

use std::mem::ManuallyDrop;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use callsign_plugin::abi;
use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

use super::call::Function;
use super::handler::Kind;
use super::hooks::Hooks;
use super::host_api;
use super::image::Image;
use super::later;

/// The address of a function of whatever signature.
pub type Plain = unsafe extern "C" fn();

/// A loaded library. It is never unloaded: thread-locals with destructors pin it anyway, and a stray pointer
/// into unmapped code is a crash.
#[derive(Debug)]
pub struct Library {
    loaded: ManuallyDrop<Loaded>,
    /// By which it names itself.
    slot: *mut *const abi::Host,
    hooks: Hooks,
}

impl Library {
    /// Loads the file whose image was read, and gives it the host's function table. `plugin`, `name` and
    /// `generation` are what it will be known by, and `index` on the board when its hooks run.
    pub fn open(path: &Path, plugin: usize, name: &str, generation: u32, index: u32) -> Result<Self> {
        // dlopen takes a name without a slash for one to search for.
        let path = std::path::absolute(path).context("cannot be made absolute")?;
        // SAFETY: loading runs the library's constructors; running its code is what the operator asked for.
        let loaded = unsafe { Loaded::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
            // The error itself says that dlopen has failed, its source says why.
            let reason = anyhow::Error::new(error).root_cause().to_string();
            let reason = reason.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&reason).to_owned();
            if reason.contains("undefined symbol") {
                anyhow!("cannot be loaded: {reason}; link the library that defines it, or remove the call")
            } else if reason.contains("failed to map segment") {
                anyhow!(
                    "cannot be loaded: {reason}; is it, or TMPDIR with a server's copies, on a file system \
                     that is mounted noexec?"
                )
            } else {
                anyhow!("cannot be loaded: {reason}")
            }
        })?;
        let symbol = format!("{}\0", abi::PLUGIN_SYMBOL);
        // SAFETY: the image says that this symbol is a descriptor of our major version, and not shorter than
        // ours.
        let descriptor = unsafe {
            let symbol = loaded.get::<*const abi::Plugin>(symbol.as_bytes())?;
            &*symbol.as_raw_ptr().cast::<abi::Plugin>()
        };
        if descriptor.host.is_null() {
            bail!("its descriptor has no place for the host's functions (`host` is NULL)");
        }
        // SAFETY: the ABI gives the host this slot to write, before it calls anything of the plugin.
        unsafe { descriptor.host.write(host_api::table()) };
        host_api::remember(descriptor.host, name);
        later::remember(descriptor.host, plugin, name, generation);
        // SAFETY: it is never unloaded.
        let hooks = unsafe { Hooks::of(descriptor, index) };
        Ok(Self { loaded: ManuallyDrop::new(loaded), slot: descriptor.host, hooks })
    }

    /// The handler of that name and kind; the image says whether it is there and how it is exported.
    pub fn function(&self, image: &Image, name: &str, kind: Kind) -> Option<Function> {
        if image.handlers.iter().any(|(other, its_kind)| other == name && *its_kind == kind) {
            let symbol = format!("{}{name}\0", abi::HANDLER_PREFIX);
            // SAFETY: symbols of that prefix are `Handler`s, by the ABI.
            let handler = unsafe {
                let symbol = self.loaded.get::<*const abi::Handler>(symbol.as_bytes()).ok()?;
                &*symbol.as_raw_ptr().cast::<abi::Handler>()
            };
            // SAFETY: every member is the size of a pointer, and any bits are a pointer.
            let address = unsafe { std::ptr::from_ref(&handler.function).cast::<*const ()>().read() };
            if address.is_null() {
                return None;
            }
            // SAFETY: the kind, checked above, says which member of the union is set.
            return Some(unsafe { Function::of_union(kind, handler.function) });
        }
        let plain = self.plain(image, name)?;
        // SAFETY: every member is a function's address; that it has the signature of `kind` is what naming it
        // there has claimed.
        unsafe {
            let function = std::mem::transmute::<Plain, abi::OnConnect>(plain);
            Some(Function::of_union(kind, abi::HandlerFunction { onconnect: function }))
        }
    }

    /// The function of that name which is no handler by itself.
    pub fn plain(&self, image: &Image, name: &str) -> Option<Plain> {
        if !image.functions.iter().any(|other| other == name) {
            return None;
        }
        // SAFETY: the library defines this symbol itself, as code (a dependency's function of that name is not
        // in the image). Whoever calls it has to know its signature.
        unsafe { self.loaded.get::<Plain>(format!("{name}\0").as_bytes()).ok().map(|symbol| *symbol) }
    }

    /// What its descriptor offers.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// From now on it can hand over nothing to be called later.
    pub fn retire(&self) {
        later::forget(self.slot);
    }
}
