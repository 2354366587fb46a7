use super::super::command_line;
use super::*;

/// What `arguments` give `flag` with this file.
fn value(text: &str, arguments: &str, flag: &str) -> String {
    let command = with_defaults_of(command_line(), text).unwrap();
    let command =
        command.mut_subcommands(|command| command.mut_args(|argument| argument.env(None)));
    let matches = command.try_get_matches_from(arguments.split(' ')).unwrap();
    let (_, matches) = matches.subcommand().unwrap();
    let mut raw = matches.get_raw(flag).unwrap();
    raw.next().unwrap().to_str().unwrap().to_owned()
}

fn refusal(text: &str) -> String {
    with_defaults_of(command_line(), text).unwrap_err()
}

#[test]
fn the_command_line_counts_before_the_file_and_that_before_what_is_built_in() {
    let file = "serve: { store: a.db }";
    assert_eq!(value(file, "serin serve", "store"), "a.db");
    assert_eq!(value(file, "serin serve --store b.db", "store"), "b.db");
    assert_eq!(value(file, "serin serve", "listen"), "127.0.0.1:9290");
}

#[test]
fn a_commands_own_section_counts_before_all() {
    let file = "
all: { server: \"http://all:1\", token: from-all }
abort: { server: \"http://abort:1\" }
watch: { server: \"http://watch:1\" }
";
    for (command, server) in
        [("abort", "http://abort:1"), ("watch", "http://watch:1"), ("undo", "http://all:1")]
    {
        let command = format!("serin {command} shop");
        assert_eq!(value(file, &command, "server"), server, "{command}");
        assert_eq!(value(file, &command, "token"), "from-all", "{command}");
    }
}

#[test]
fn all_is_for_the_commands_that_take_the_value() {
    let file = "all: { output: plain }";
    assert_eq!(value(file, "serin status", "output"), "plain");
    assert_eq!(value(file, "serin run rollout.yaml", "output"), "plain");
    let file = "all: { output: live }";
    assert_eq!(value(file, "serin status", "output"), "plain");
    assert_eq!(value(file, "serin run rollout.yaml", "output"), "live");
}

#[test]
fn values_are_what_is_written() {
    for written in ["0123", "1e5", "true", "9290", "~x", "\"quoted\""] {
        let file = format!("serve: {{ operate-token: {written} }}");
        let expected = written.trim_matches('"');
        assert_eq!(value(&file, "serin serve", "operate_token"), expected);
    }
    assert_eq!(value("judge: { alpha: 0.05 }", "serin judge x", "alpha"), "0.05");
}

#[test]
fn nothing_in_it_changes_nothing() {
    for file in ["", "# nothing\n", "{}", "serve: {}"] {
        assert_eq!(value(file, "serin serve", "store"), "serin.db", "{file:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (file, expected) in [
        ("srve: { store: a }", "srve: no such command; there are all, run, "),
        ("srve: {}", "srve: no such command"),
        ("serve: { lisen: x }", "serve.lisen: no such flag; serve has store, listen, "),
        ("all: { lisen: x }", "all.lisen: no command has this flag"),
        ("serve: { listen: here }", "serve.listen: \"here\": invalid socket address syntax"),
        ("all: { listen: here }", "all.listen: \"here\": invalid socket address syntax"),
        ("status: { output: xml }", "status.output: \"xml\" is none of its values (plain, json)"),
        ("run: { reset-users: true }", "run.reset-users: a switch"),
        ("judge: { alpha: 7 }", "judge.alpha: \"7\": "),
        ("run: { rollout: x.yaml }", "run.rollout: no such flag; run has output, record"),
        ("serve: { store: [a, b] }", "serve.store: "),
        ("serve: { store: { a: b } }", "serve.store: "),
        ("serve: { store: }", "serve.store: "),
        ("serve: [store]", "serve: "),
        ("serve: store", "serve: "),
        ("[serve]", ""),
        ("serve: { store: a, store: b }", "serve"),
        ("serve: {", ""),
    ] {
        let refusal = refusal(file);
        assert!(refusal.starts_with(expected), "{file}: {refusal}");
    }
}

#[test]
fn it_is_named_anywhere_on_the_command_line() {
    let named = |arguments: &str| {
        let command = command_line().mut_arg("config", |argument| argument.env(None));
        let path = named(&command, arguments.split(' ').map(OsString::from));
        path.map(|path| path.display().to_string())
    };
    for arguments in [
        "serin --config c.yaml serve",
        "serin serve --config c.yaml",
        "serin serve --config=c.yaml --store x",
        "serin serve --help --config c.yaml",
        "serin serve --config c.yaml --no-such-flag",
        "serin apply --config c.yaml",
    ] {
        assert_eq!(named(arguments).as_deref(), Some("c.yaml"), "{arguments}");
    }
    assert_eq!(named("serin serve"), None);
    assert_eq!(named("serin"), None);
}

#[test]
fn secrets_are_not_shown() {
    let file = "serve: { operate-token: sesame, store: a.db }";
    let mut command = with_defaults_of(command_line(), file).unwrap();
    let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
    assert!(help.contains("[default: a.db]"), "{help}");
    assert!(!help.contains("sesame"), "{help}");
}
