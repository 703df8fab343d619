//! The server behind the `callsign` program, as a library for its tests and fuzz targets. Only
//! `callsign-plugin` is a promise; everything here changes freely.
#![deny(unsafe_code)]

pub mod cli; // the command line

pub mod config; // callsign.toml

pub mod settings; // both together, with the defaults

pub mod units; // sizes and times as people write them

pub mod nearest; // "did you mean"

pub mod readable; // other people's texts on a terminal

pub mod route; // request path to the names of handlers

pub mod new; // makes a plugin's project

pub mod dev; // builds a plugin, and again when it changes

pub mod watch; // files that change

pub mod control; // what can be asked of a running server, and how

pub mod check; // would this host load these plugins

pub mod plan; // which file stands for which plugin

pub mod parent; // starts workers, watches them, carries their broadcasts

pub mod server; // a worker from start to end

pub mod probe; // whether plugins can be loaded, tried in another process

pub mod link; // between parent and worker

pub mod listen; // sockets, and how many clients

pub mod stop; // SIGINT and SIGTERM

pub mod privileges; // --user and --group

pub mod banner; // what it says at the start

pub mod clients; // how many there are, and may be

pub mod worker; // plugins, routes and connections of one thread

pub mod dispatch; // request path to handlers

pub mod reload; // the worker's part in a reload

pub mod http; // requests, answers, the upgrade

pub mod session; // a connection's life: read, call the handler, write

pub mod connection; // one client

pub mod outbox; // its write queue

pub mod timers; // plugins' callbacks at a later time

pub mod background; // plugins' work off the loop

pub mod posts; // plugins' messages from other workers

pub mod websocket; // RFC 6455, bytes in and out

pub mod plugin; // libraries, handlers, calls both ways

pub mod board; // shared memory: what each worker is doing

pub mod crash; // what a dead worker has left
