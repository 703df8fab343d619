//! dlopen: a validated file enters, function addresses leave. Only this module loads code.
//!
//! Invariant: a library is never unloaded, so function addresses and descriptors stay valid until the process exits.

use std::ffi::{CStr, OsStr, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use anyhow::{Context, Result, anyhow, bail};
use callsign_plugin::abi;
use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

use super::call::Function;
use super::callers;
use super::guard::Guard;
use super::handler::Kind;
use super::hooks::Hooks;
use super::image::Image;
use crate::system::process::fork;
use crate::system::static_tls;

/// The table of host functions that plugins call.
pub type HostTable = &'static abi::Host;

/// The address of an exported function whose signature is not known.
pub type Plain = unsafe extern "C" fn();

/// A loaded library. It stays loaded, because thread-locals with destructors pin it anyway, and a call through a stale
/// pointer into unmapped code would crash.
#[derive(Debug)]
pub struct Library {
    loaded: ManuallyDrop<Loaded>,
    /// Where the library keeps its pointer to the host's table. Host functions get this address as `caller`, and it
    /// identifies the generation.
    host_slot: *mut *const abi::Host,
    hooks: Hooks,
    /// Where the library is loaded.
    base: *const c_void,
}

impl Library {
    /// Loads the file whose image was read, and gives it the host's function table. `plugin` (its index), `name` and
    /// `generation` identify it when it calls the host; `scoreboard_index` identifies its hooks on the scoreboard.
    pub fn open(
        path: &Path,
        image: &Image,
        plugin: usize,
        name: &str,
        generation: u32,
        scoreboard_index: u32,
        host: HostTable,
    ) -> Result<Self> {
        // dlopen searches the system's folders for a name without a slash.
        let path = std::path::absolute(path).context("cannot be made absolute")?;
        // SAFETY: loading runs the library's constructors. The operator, who named the library, vouches for its code.
        let loaded = unsafe { Loaded::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        if fork::is_forked() {
            fork::end_returned(&format_args!("a constructor of {}", path.display()));
        }
        let loaded = loaded.map_err(|error| {
            // The error says that dlopen failed; its source says why.
            let reason = anyhow::Error::new(error).root_cause().to_string();
            let reason = reason.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&reason).to_owned();
            if reason.contains("undefined symbol") {
                anyhow!("cannot be loaded: {reason}; link the library that defines it, or remove the call")
            } else if reason.contains("failed to map segment") {
                anyhow!(
                    "cannot be loaded: {reason}; is it, or TMPDIR with a server's copies, on a file system \
                     that is mounted noexec?"
                )
            } else if reason.contains("static TLS block") {
                anyhow!(
                    "cannot be loaded: {reason}: each generation takes room for its thread-local data (initial-exec \
                     model) from what the process has reserved at its start, and that is used up. {}",
                    static_tls::remedy()
                )
            } else {
                anyhow!("cannot be loaded: {reason}")
            }
        })?;
        let symbol = format!("{}\0", abi::PLUGIN_SYMBOL);
        // SAFETY: `Image::read` checked that this symbol is a descriptor of our ABI major version and at least as long
        // as `abi::Plugin`. By the ABI the plugin does not write to it, and the library is never unloaded.
        let descriptor = unsafe {
            let symbol = loaded.get::<*const abi::Plugin>(symbol.as_bytes())?;
            &*symbol.as_raw_ptr().cast::<abi::Plugin>()
        };
        if descriptor.host.is_null() {
            bail!("its descriptor has no place for the host's functions (`host` is NULL)");
        }
        // SAFETY: by the ABI `host`, if it is not NULL, points to a place that the host may write before it calls a
        // function of the plugin.
        unsafe { descriptor.host.write(host) };
        let guard = if image.has_guard { find_guard(&loaded) } else { None };
        callers::register(descriptor.host, plugin, name, generation, guard);
        // SAFETY: the library follows the ABI, which its descriptor promises; `ManuallyDrop` keeps it loaded.
        let hooks = unsafe { Hooks::new(descriptor, plugin, scoreboard_index, guard) };
        let base = place_of(ptr::from_ref(descriptor).cast()).map_or(ptr::null(), |place| place.base);
        Ok(Self { loaded: ManuallyDrop::new(loaded), host_slot: descriptor.host, hooks, base })
    }

    /// The function of a handler of that name and kind: an exported handler, or else a plain function of that name.
    pub fn function(&self, image: &Image, name: &str, kind: Kind) -> Option<Function> {
        if image.handlers.iter().any(|(other, its_kind)| other == name && *its_kind == kind) {
            let symbol = format!("{}{name}\0", abi::HANDLER_PREFIX);
            // SAFETY: by the ABI a symbol with this prefix is an `abi::Handler`; `Image::read` found this one in the
            // library's data.
            let handler = unsafe {
                let symbol = self.loaded.get::<*const abi::Handler>(symbol.as_bytes()).ok()?;
                &*symbol.as_raw_ptr().cast::<abi::Handler>()
            };
            // SAFETY: every member of the union is a function pointer, of a pointer's size, and any bits are a valid
            // `*const ()`.
            let address = unsafe { std::ptr::from_ref(&handler.function).cast::<*const ()>().read() };
            if address.is_null() {
                return None;
            }
            // The loader looks for the names that a library refers to in the libraries of the process first. A handler
            // called `index` would be the C library's function.
            let is_foreign = place_of(address.cast()).is_some_and(|place| place.base != self.base);
            if is_foreign && let Some(own) = self.plain(image, name) {
                // SAFETY: as below. By the ABI, a handler's function has the signature of its kind.
                return Some(unsafe { of_plain(kind, own) });
            }
            // SAFETY: by the ABI the handler's kind says which member of the union is set; the image has that kind, and
            // the pointer is not NULL.
            return Some(unsafe { Function::of_union(kind, handler.function) });
        }
        let plain = self.plain(image, name)?;
        // SAFETY: the operator or the plugin, by naming the function as a handler of `kind`, vouches for its signature.
        Some(unsafe { of_plain(kind, plain) })
    }

    /// The exported function of that name that is not declared as a handler.
    pub fn plain(&self, image: &Image, name: &str) -> Option<Plain> {
        if !image.functions.iter().any(|other| other == name) {
            return None;
        }
        // SAFETY: `Image::read` found this symbol among the functions that the library itself defines, so it is the
        // address of code. `Plain` claims no signature; the code that calls the function has to know it.
        unsafe { self.loaded.get::<Plain>(format!("{name}\0").as_bytes()).ok().map(|symbol| *symbol) }
    }

    /// The hooks of its descriptor.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// The host rejects timers, background work and worker messages of this library from now on.
    pub fn retire(&self) {
        callers::unregister(self.host_slot);
    }
}

/// # Safety
/// The function has the signature of that kind.
unsafe fn of_plain(kind: Kind, plain: Plain) -> Function {
    // SAFETY: all function pointers have the same layout, and so have the members of the union. The caller guarantees the
    // signature.
    unsafe {
        let function = std::mem::transmute::<Plain, abi::OnConnect>(plain);
        Function::of_union(kind, abi::HandlerFunction { onconnect: function })
    }
}

/// The guard of a library that exports one.
fn find_guard(loaded: &Loaded) -> Option<Guard> {
    let symbol = format!("{}\0", abi::GUARD_SYMBOL);
    // SAFETY: by the ABI this symbol is an `abi::Guard`; `Image::read` found it in the library's data. The library is
    // never unloaded.
    unsafe {
        let symbol = loaded.get::<*const abi::Guard>(symbol.as_bytes()).ok()?;
        let guard = symbol.as_raw_ptr().cast::<abi::Guard>().as_ref()?;
        (guard.struct_size as usize >= size_of::<abi::Guard>()).then(|| Guard::new(guard))
    }
}

/// Where an address is.
struct Place {
    /// Start of the library in memory.
    base: *const c_void,
    /// The library's file.
    file: PathBuf,
}

/// None: the address is in no library.
fn place_of(address: *const c_void) -> Option<Place> {
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` looks up any address, and writes a result that is valid if it is not 0. The name of a library's
    // file is a C string that lives as long as the library.
    unsafe {
        if libc::dladdr(address, found.as_mut_ptr()) == 0 {
            return None;
        }
        let found = found.assume_init();
        let file = (!found.dli_fname.is_null()).then(|| CStr::from_ptr(found.dli_fname).to_bytes());
        let file = PathBuf::from(OsStr::from_bytes(file.unwrap_or_default()));
        Some(Place { base: found.dli_fbase, file })
    }
}

/// The library of this process, such as the C library, that defines a function of that name. Where a plugin refers to a
/// function of its own by that name, the loader takes the one of that library.
pub fn defined_by_process(name: &str) -> Option<PathBuf> {
    // SAFETY: `Plain` claims no signature, and the function is not called.
    let function =
        unsafe { Loaded::this().get::<Plain>(format!("{name}\0").as_bytes()).ok().map(|symbol| *symbol)? };
    place_of(function as *const c_void).map(|place| place.file)
}
