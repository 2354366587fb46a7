//! The configuration file: other defaults for flags.
//!
//! It has a section for each command, and `all` for flags that several have:
//!
//! ```yaml
//! all: { server: "http://serin.example:9290" }
//! serve: { store: /var/lib/serin/serin.db, listen: 0.0.0.0:9290 }
//! ```
//!
//! A flag counts before an environment variable, and that before the file. The values become the defaults of clap's own arguments, so `--help`
//! shows them. Switches, which have no value, are not for a file: nothing on the command line could take them back.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::builder::PathBufValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

/// The section of flags that several commands have.
const ALL: &str = "all";

/// The longest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Commands and what the file has of their flags.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// The flag that names the file.
pub(super) fn flag() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("SERIN_CONFIG")
        .value_parser(PathBufValueParser::new())
        .global(true)
        .help("Defaults of flags, in YAML: for each command, and under `all`")
}

/// The command line with the defaults that the file has, if these arguments or the environment name one.
///
/// # Errors
/// It can't be read, or what is wrong with it and where.
pub(super) fn with_defaults(
    command: Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Command, String> {
    let Some(path) = named(&command, arguments) else { return Ok(command) };
    let text = read(&path).map_err(|error| error.to_string());
    let command = text.and_then(|text| with_defaults_of(command, &text));
    command.map_err(|error| format!("{}: {error}", path.display()))
}

/// The file that is named. What else is wrong with the command line, or asks for help, is for later.
fn named(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let help = Arg::new("help").long("help").short('h').action(ArgAction::SetTrue).global(true);
    let early = command.clone().ignore_errors(true).disable_help_flag(true).arg(help);
    early.try_get_matches_from(arguments).ok()?.get_one("config").cloned()
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn with_defaults_of(command: Command, text: &str) -> Result<Command, String> {
    let mut sections = parse(text)?;
    let all = sections.remove(ALL).unwrap_or_default();
    let command = all
        .iter()
        .try_fold(command, |command, (flag, value)| set_for_all_commands(command, flag, value))?;
    // What a command has of its own counts before `all`.
    sections.iter().try_fold(command, |command, (section, flags)| {
        let Some(subcommand) = command.find_subcommand(section) else {
            let known = names(command.get_subcommands().map(Command::get_name));
            return Err(format!("{section}: no such command; there are {ALL}, {known}"));
        };
        for (flag, value) in flags {
            check(subcommand, flag, value)
                .map_err(|reason| format!("{section}.{flag}: {reason}"))?;
        }
        Ok(command.mut_subcommand(section, |subcommand| {
            flags.iter().fold(subcommand, |subcommand, (flag, value)| set(subcommand, flag, value))
        }))
    })
}

fn parse(text: &str) -> Result<Sections, String> {
    let mut at = String::new();
    let sections = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        serde_path_to_error::deserialize::<_, Sections>(yaml).map_err(|error| {
            at = format!("{}: ", error.path());
            error.into_inner()
        })
    });
    sections.map_err(|error| format!("{}{}", at.trim_start_matches(".: "), error.without_snippet()))
}

/// Sets a flag of every command that has it and takes the value: `output` has other values here than there.
fn set_for_all_commands(mut command: Command, flag: &str, value: &str) -> Result<Command, String> {
    let names: Vec<_> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let mut refusal = Some("no command has this flag".to_owned());
    let mut set_anywhere = false;
    for name in names {
        let Some(subcommand) = command.find_subcommand(&name) else { continue };
        if find(subcommand, flag).is_none() {
            continue;
        }
        match check(subcommand, flag, value) {
            Ok(()) => {
                set_anywhere = true;
                command = command.mut_subcommand(name, |subcommand| set(subcommand, flag, value));
            }
            Err(why) => refusal = Some(why),
        }
    }
    match refusal {
        Some(why) if !set_anywhere => Err(format!("{ALL}.{flag}: {why}")),
        _ => Ok(command),
    }
}

fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| argument.get_long() == Some(flag))
}

/// Whether a command has the flag, and it takes the value.
fn check(command: &Command, flag: &str, value: &str) -> Result<(), String> {
    let Some(argument) = find(command, flag) else {
        let flags = command.get_arguments().filter(|argument| takes_value(argument));
        let known = names(flags.filter_map(Arg::get_long));
        return Err(format!("no such flag; {} has {known}", command.get_name()));
    };
    if !takes_value(argument) {
        return Err("a switch, which is given on the command line or not at all".to_owned());
    }
    // Parsed with nothing else: what else is missing, or in the environment, is not the file's affair.
    let alone = command.clone().no_binary_name(true).mut_args(|argument| argument.env(None));
    let Err(error) = alone.try_get_matches_from([format!("--{flag}={value}")]) else {
        return Ok(());
    };
    match error.kind() {
        ErrorKind::ValueValidation => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            Err(format!("{value:?}: {reason}"))
        }
        ErrorKind::InvalidValue => {
            let values = argument.get_possible_values();
            let known = names(values.iter().map(|value| value.get_name()));
            Err(format!("{value:?} is none of its values ({known})"))
        }
        _ => Ok(()),
    }
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_long().is_some() && argument.get_action().takes_values()
}

/// Makes it the default. A secret is not shown, as it is not if it is in the environment.
fn set(command: Command, flag: &str, value: &str) -> Command {
    let Some(id) = find(&command, flag).map(|argument| argument.get_id().clone()) else {
        return command;
    };
    command.mut_arg(id, |argument| {
        let secret = argument.is_hide_env_values_set();
        argument.default_value(value.to_owned()).hide_default_value(secret)
    })
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
