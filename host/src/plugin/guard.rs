//! Exceptions of other languages. Rust code cannot catch a C++ exception, so a library that can throw exports a guard
//! (`callsign.h` does, in C++), and the host makes all calls into the library through it. A call enters; its result or a
//! description of what it threw leaves.
//!
//! Invariant: nothing unwinds into the host. Without a guard, an exception that leaves a plugin aborts the process.

use std::ffi::{CStr, c_char, c_void};
use std::mem::{MaybeUninit, transmute};

use callsign_plugin::abi;

/// Bytes of the description of what a call threw, with its NUL.
const REASON_SIZE: usize = 1024;

/// The guard of a library.
#[derive(Clone, Copy, Debug)]
pub struct Guard(abi::Catch);

impl Guard {
    /// # Safety
    /// The guard is that of a library that follows the ABI and is never unloaded.
    pub(super) unsafe fn new(guard: &abi::Guard) -> Self {
        Self(guard.call)
    }

    fn call<R>(self, f: impl FnOnce() -> R) -> Result<R, String> {
        let mut call = Call { f: Some(f), result: None };
        let mut reason = MaybeUninit::<[c_char; REASON_SIZE]>::uninit();
        let reason = reason.as_mut_ptr().cast::<c_char>();
        // SAFETY: by the ABI the library calls `body` with that argument, on this thread, before it returns, and catches
        // what unwinds from it. If so, it writes a C string of at most that size.
        unsafe {
            let body = transmute::<unsafe extern "C-unwind" fn(*mut c_void), abi::Body>(body_of(&call));
            if (self.0)(body, (&raw mut call).cast(), reason, REASON_SIZE) != 0 {
                return Err(CStr::from_ptr(reason).to_string_lossy().into_owned());
            }
        }
        call.result.ok_or_else(|| "its guard against exceptions has not called it".to_owned())
    }
}

/// A call that a guard makes.
struct Call<F, R> {
    f: Option<F>,
    result: Option<R>,
}

/// The function that makes the call. What `f` throws unwinds through it.
fn body_of<F: FnOnce() -> R, R>(_: &Call<F, R>) -> unsafe extern "C-unwind" fn(*mut c_void) {
    unsafe extern "C-unwind" fn body<F: FnOnce() -> R, R>(argument: *mut c_void) {
        // SAFETY: `Guard::call` passes a pointer to a call of this type, and uses it only afterwards.
        let call = unsafe { &mut *argument.cast::<Call<F, R>>() };
        call.result = call.f.take().map(|f| f());
    }
    body::<F, R>
}

/// Makes a call into a library. Err: what it threw.
#[inline(always)]
pub fn call<R>(guard: Option<Guard>, f: impl FnOnce() -> R) -> Result<R, String> {
    match guard {
        None => Ok(call_unguarded(f)),
        Some(guard) => guard.call(f),
    }
}

/// Aborts if `f` unwinds, because its ABI is one that cannot.
#[inline]
extern "C" fn call_unguarded<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// A function of a library, which may throw: the compiler must not assume otherwise.
pub trait MayThrow {
    type Function;
    /// The same function, with an ABI that may unwind.
    fn may_throw(self) -> Self::Function;
}

macro_rules! may_throw {
    ($($argument:ident)*) => {
        impl<R, $($argument),*> MayThrow for unsafe extern "C" fn($($argument),*) -> R {
            type Function = unsafe extern "C-unwind" fn($($argument),*) -> R;
            #[inline]
            fn may_throw(self) -> Self::Function {
                // SAFETY: both ABIs pass arguments and results in the same way.
                unsafe { transmute::<Self, Self::Function>(self) }
            }
        }
    };
}
may_throw!();
may_throw!(A);
may_throw!(A B);
may_throw!(A B C);
may_throw!(A B C D);
