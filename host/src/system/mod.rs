//! The edge to the operating system: processes, signals, privileges, shared memory, crash reports. Nothing in here
//! knows what is served.

pub mod sanitize; // untrusted text on a terminal

pub mod output; // writes that never block

pub mod log; // log lines to stderr

#[expect(unsafe_code, reason = "the C library's stdout is a static variable")]
pub mod stdio; // what plugins in C print

pub mod access_log; // records of requests

pub mod signals; // SIGINT, SIGTERM, SIGHUP

pub mod x509; // what certificates say

pub mod privileges; // --user and --group

#[cfg(target_os = "linux")]
pub mod capabilities; // those of a process, and those that it could get

pub mod sandbox; // what the code of plugins may do

pub mod private_folder; // who can use a folder, or replace what is in it

pub mod file_stamp; // versions of a file

pub mod static_tls; // room for thread-local data of plugins

pub mod open_files; // the limit on open files

pub mod socket_file; // Unix sockets in the file system

#[expect(unsafe_code, reason = "descriptors that the process inherits; removal of variables")]
pub mod service_manager; // sockets from systemd, and what it is told

#[expect(unsafe_code, reason = "maps shared memory")]
pub mod shared_memory; // files that parent and workers map

pub mod scoreboard; // shared memory: what each worker is doing

pub mod addresses; // shared memory: what each client's address does

pub mod crash; // signal handler, and backtraces of dead processes

pub mod process; // starting a child process, and its first steps

#[expect(unsafe_code, reason = "getsockopt and ioctl that no crate wraps")]
pub mod delivery; // what a TCP client has acknowledged

pub mod beneath; // files below a folder, and nothing outside of it

pub mod pace; // turns of about a millisecond

pub mod pool; // threads for work that blocks

pub mod panic; // panics in the host's own code

pub mod task; // tasks whose panic stops the server
