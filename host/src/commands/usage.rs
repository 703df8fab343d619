//! Reads the command line and the environment. What is wrong with a value is said of the option or of the environment
//! variable that it comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command as Parser, CommandFactory, Error, FromArgMatches};

use super::cli::{Cli, Command};
use super::dev::DevOptions;

/// The command to run. Ends the process if the usage is wrong, or asks for help.
pub fn parse() -> Cli {
    parse_from(&std::env::args_os().collect::<Vec<_>>()).unwrap_or_else(|error| error.exit())
}

fn parse_from(arguments: &[OsString]) -> Result<Cli, Error> {
    let mut parser = Cli::command();
    let matches = parser.try_get_matches_from_mut(arguments);
    let mut matches = matches.map_err(|error| explain(error, &mut parser, arguments))?;
    let variables = variables(&parser, &matches);
    let mut cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut parser))?;
    if let Command::Serve { options, .. } | Command::Dev(DevOptions { options, .. }) = &mut cli.command {
        options.variables = variables;
    }
    Ok(cli)
}

/// The environment variables that decide settings, by the keys of the settings.
fn variables(parser: &Parser, matches: &ArgMatches) -> BTreeMap<String, String> {
    let found = matches.subcommand().and_then(|(name, given)| Some((parser.find_subcommand(name)?, given)));
    let Some((parser, given)) = found else { return BTreeMap::new() };
    let variable = |arg: &clap::Arg| {
        let (id, name) = (arg.get_id().as_str(), arg.get_env()?.to_string_lossy().into_owned());
        let key = match id {
            "origin" => "origins",
            "trusted_proxy" => "trusted_proxies",
            "sandbox" => "level",
            other => other,
        };
        (given.value_source(id) == Some(ValueSource::EnvVariable)).then(|| (key.to_owned(), name))
    };
    parser.get_arguments().filter_map(variable).collect()
}

/// What is missing, and where a wrong value comes from.
fn explain(mut error: Error, parser: &mut Parser, arguments: &[OsString]) -> Error {
    let name = arguments.get(1).and_then(|name| name.to_str()).unwrap_or_default();
    let Some(parser) = parser.find_subcommand_mut(name) else { return error };
    if error.kind() == ErrorKind::MissingRequiredArgument && matches!(name, "serve" | "check") {
        let text = format!(
            "no plugin to {name}: name a library's file, such as libchat.so, or a config file with --config FILE"
        );
        return parser.error(ErrorKind::MissingRequiredArgument, text);
    }
    if error.kind() == ErrorKind::ArgumentConflict && name == "reload" {
        let text = "--config takes no file and no names of plugins: the server reads the config file that it was started \
                    with, and reloads all plugins that have changed";
        return parser.error(ErrorKind::ArgumentConflict, text);
    }
    if let Some(variable) = variable_of(&error, parser, arguments) {
        error.insert(
            ContextKind::InvalidArg,
            ContextValue::String(format!("{variable} (environment variable)")),
        );
    }
    error
}

/// The environment variable that has the wrong value. None: the value is in the arguments.
fn variable_of(error: &Error, parser: &Parser, arguments: &[OsString]) -> Option<String> {
    let ContextValue::String(shown) = error.get(ContextKind::InvalidArg)? else { return None };
    let arg = parser.get_arguments().find(|arg| arg.to_string() == *shown)?;
    let (option, variable) = (format!("--{}", arg.get_long()?), arg.get_env()?.to_string_lossy());
    let is_option = |argument: &OsString| {
        let rest = argument.to_str().and_then(|argument| argument.strip_prefix(&option));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    (!arguments.iter().any(is_option)).then(|| variable.into_owned())
}
