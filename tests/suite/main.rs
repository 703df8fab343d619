//! Tests of the whole program: the real `callsign` binary, real plugins, real sockets.
//!
//! All areas are modules of one test program, so `support` compiles once. The tests share one process and run in
//! parallel; `support` says how a test gets the machine to itself. `cargo test -p callsign --test suite AREA::`
//! runs one area.
#![deny(unsafe_code)]

mod support; // starts servers, builds plugins, speaks to them

mod modules; // every file here is declared

mod layers; // the folders of the host and their imports

mod names; // handlers found by name

mod startup; // starts that fail, and their messages

mod usage; // arguments and environment variables that are wrong

mod manual; // completions and manual pages

mod callbacks; // callbacks of a connection, as a plugin sees them

mod protocol; // RFC 6455, frame by frame

mod compression; // RFC 7692

mod limits; // message sizes, timeouts, backlog

mod route_limits; // limits and backpressure of a route

mod address_limits; // what the clients of one address may do

mod http; // requests, responses, the upgrade

mod access_log; // records of requests and connections

mod tls; // certificates, redirects, certificates of clients

mod http2; // several requests and WebSockets over one connection

mod unix_socket; // clients on a Unix socket

mod listeners; // listeners that change while the server runs

mod systemd; // a server that systemd starts

mod proxies; // nginx and HAProxy in front of the server

mod workers; // workers that die or hang

mod stalled_worker; // workers that do not run, outside of any callback

mod bounds; // connection limit, open files, privileges

mod drain; // stopping

mod successor; // a server that starts while another one stops

mod hub; // broadcasts between workers

mod audience; // whom a broadcast reaches if there are several plugins

mod faults; // lost links, orphans, crash loops

mod sandbox; // what confined workers can do

mod hardening; // no threads, a log that nobody reads, signals, forged log lines

mod log_output; // a log that nobody reads, full files, terminals that are stopped

mod forked_children; // processes that plugins start

mod reload; // new code on live connections

mod reconfigure; // settings that change while the server runs

mod exceptions; // C++ exceptions that leave a plugin

mod printing; // what plugins print

mod isolation; // what generations and plugins do not share

mod beside; // files beside a plugin's library

mod copies_private; // copies of the libraries: who can read them, and where they are

mod control; // the control socket and its commands

mod large; // thousands of routes and handlers

mod check; // `callsign check` and `callsign inspect`

mod config_faults; // a config file that is wrong, in part or hardly meant

mod offloop; // background work and timers

mod dev; // `callsign dev` and `callsign new`

mod worker_messages; // messages from one worker to another

mod onload; // load hooks

mod kore; // plugins written for Kore

mod owner; // values that a plugin attaches to a request

mod c_plugins; // plugins in C

mod c_strings; // data as C strings

mod c_bad_input; // wrong arguments from C

mod c_memory; // C plugins under AddressSanitizer and valgrind

mod reload_state; // connection state across a reload

mod reload_load; // many reloads under load

mod internals; // modules of the host crate, called directly
