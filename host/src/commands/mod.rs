//! The command line of `callsign`: one module for each command, with its options.

pub mod cli; // commands and their options

pub mod usage; // what is wrong with arguments and environment

mod help; // defaults, environment variables and examples in the help

mod output; // standard output

pub mod serve; // `callsign serve`

pub mod watch; // files that change

pub mod dev; // `callsign dev`

pub mod new; // `callsign new`

pub mod headers; // `callsign headers`

pub mod assets; // `callsign assets`

pub mod control; // `callsign reload` and `callsign status`

pub mod check; // `callsign check`

pub mod inspect; // `callsign inspect`

pub mod manual; // `callsign completions` and `callsign man`
