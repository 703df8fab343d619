//! The C library's stdout, to which plugins in C print.

/// From here on the C library writes each line when it is complete. Otherwise it would keep what plugins print until
/// there are a few kilobytes of it, because the stdout of a worker is no terminal. Call it before anything is printed.
pub fn print_lines_at_once() {
    #[cfg(target_os = "linux")]
    {
        use std::ptr;

        // libc declares it for other systems only.
        unsafe extern "C" {
            static mut stdout: *mut libc::FILE;
        }
        // SAFETY: the C library defines the variable and sets it before `main`. No other thread prints yet.
        let _ = unsafe { libc::setvbuf(stdout, ptr::null_mut(), libc::_IOLBF, 0) };
    }
}
