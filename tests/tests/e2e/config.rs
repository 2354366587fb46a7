//! Defaults of flags from a file and from the environment.

use serin_tests::{Server, serin, text};

#[tokio::test(flavor = "multi_thread")]
async fn flags_come_from_the_command_line_the_environment_and_a_file_in_this_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path()).await;
    let file = directory.path().join("serin.yaml");
    let write = |text: String| std::fs::write(&file, text).expect("a file");
    let run = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = serin();
        command.env("SERIN_CONFIG", &file).args(arguments).envs(environment.iter().copied());
        let output = command.output().await.expect("serin runs");
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (good, nowhere) = (server.url(), "http://127.0.0.1:1");

    write(format!("all: {{ server: {good:?} }}"));
    assert_eq!(run(&["status"], &[]).await, (Some(0), String::new()), "by the file");
    assert_eq!(run(&["status"], &[("SERIN_SERVER", nowhere)]).await.0, Some(1));
    assert_eq!(run(&["status", "--server", nowhere], &[]).await.0, Some(1));
    let (_, help) = run(&["status", "--help"], &[]).await;
    assert!(help.contains(&format!("[default: {good}]")), "{help}");

    write(format!("all: {{ server: {nowhere:?} }}\nstatus: {{ server: {nowhere:?} }}"));
    assert_eq!(run(&["status"], &[]).await.0, Some(1));
    assert_eq!(run(&["status"], &[("SERIN_SERVER", good)]).await.0, Some(0));
    let both = [("SERIN_SERVER", nowhere)];
    assert_eq!(run(&["status", "--server", good], &both).await.0, Some(0));

    write("serve: { lisen: x }".to_owned());
    let (code, error) = run(&["status"], &[]).await;
    assert_eq!(code, Some(2), "{error}");
    let expected = format!(
        "serin: {}: serve.lisen: no such flag; serve has store, listen, read-token, ",
        file.display()
    );
    assert!(error.starts_with(&expected), "{error}");
    let (code, error) = run(&["--config", "/no/such/file", "status"], &[]).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.starts_with("serin: /no/such/file: "), "{error}");
}
