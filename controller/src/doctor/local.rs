//! Requirements of a rollout on this machine: the filter's file, commands, webhooks, files with
//! secrets.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serin_core::rollout::call::{Hook, HookTarget};
use serin_core::rollout::plan::Plan;
use standardwebhooks::Webhook;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::{Check, Finding};
use crate::files::{self, MAX_SECRET_BYTES};
use crate::routers::Contents;

/// Timeout of a connection to a webhook's host.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Checks the filter's file, and returns its configuration.
pub(super) fn filter_file(path: &Path) -> (Option<Contents>, Finding) {
    let contents = match Contents::read(path) {
        Ok(contents) => contents,
        Err(error) => {
            let fix = "Envoy needs it at its start: `serin init filter` prints an initial one";
            return (None, Finding::fail(Check::FilterFile, error.to_string(), fix));
        }
    };
    // serin replaces the file by a rename.
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let finding = match tempfile::NamedTempFile::new_in(directory) {
        Ok(_) => {
            let generation = contents.config().generation;
            Finding::ok(
                Check::FilterFile,
                format!("{} has generation {generation}", path.display()),
            )
        }
        Err(cause) => Finding::fail(
            Check::FilterFile,
            format!("{}: can't create a file next to it: {cause}", path.display()),
            "serin replaces it by a rename: grant serin's user write access to the directory",
        ),
    };
    (Some(contents), finding)
}

/// Checks the hooks of a rollout without a call.
pub(super) async fn hooks(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hook in plan.all_hooks() {
        findings.push(match &hook.target {
            HookTarget::Command(command) => runnable(command),
            HookTarget::Url(url) => reachable(url, &hook.target).await,
        });
        findings.extend(hook.secret_file.as_deref().map(|path| key(path, hook)));
    }
    findings
}

/// Whether a program exists and is executable.
fn runnable(command: &[String]) -> Finding {
    let program = command.first().map_or("", String::as_str);
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let found = match program.contains('/') {
        true => executable(&program.into()),
        false => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|directory| executable(&directory.join(program)))
        }
    };
    match found {
        true => Finding::ok(Check::Hooks, format!("{program} can be run")),
        false => Finding::fail(
            Check::Hooks,
            format!("{program} can't be run"),
            "check that it exists on serin's machine and is executable (chmod +x)",
        ),
    }
}

/// Checks that the address of a webhook accepts connections.
async fn reachable(url: &str, view: &HookTarget) -> Finding {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let Some((host, port)) = host else {
        return Finding::fail(
            Check::Hooks,
            format!("{view} is not an address"),
            "use one such as https://deploy.example/hook",
        );
    };
    let host = host.trim_matches(['[', ']']);
    let reason = match timeout(TIMEOUT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => return Finding::ok(Check::Hooks, format!("{view} accepts connections")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {}", humantime::format_duration(TIMEOUT)),
    };
    Finding::fail(
        Check::Hooks,
        format!("{view} can't be reached: {reason}"),
        "check the address and the network in between; a hook without an answer stops the rollout",
    )
}

/// Whether a file has a key for signatures.
fn key(path: &Path, hook: &Hook) -> Finding {
    let (file, target) = (path.display(), &hook.target);
    match files::read_text(path, MAX_SECRET_BYTES) {
        Err(cause) => unreadable(path, &cause),
        Ok(text) => match Webhook::new(text.trim()) {
            Ok(_) => Finding::ok(Check::Secrets, format!("{file} has a key for {target}")),
            Err(cause) => Finding::fail(
                Check::Secrets,
                format!("{file} has no key: {cause}"),
                "write whsec_ and a key in base64 into it, as Standard Webhooks define",
            ),
        },
    }
}

/// Checks that a secret file has contents.
pub(super) fn secret(path: &Path) -> Finding {
    match files::read_text(path, MAX_SECRET_BYTES) {
        Err(cause) => unreadable(path, &cause),
        Ok(text) if text.trim().is_empty() => Finding::fail(
            Check::Secrets,
            format!("{} is empty", path.display()),
            "write the secret into it",
        ),
        Ok(_) => Finding::ok(Check::Secrets, format!("{} can be read", path.display())),
    }
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Finding {
    Finding::fail(
        Check::Secrets,
        format!("{}: {cause}", path.display()),
        "check the path, and that serin's user may read it",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn programs_are_found_as_the_shell_finds_them() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let level = |program: &str| runnable(&[program.to_owned()]).level;
        let path = script.to_str().unwrap();
        assert_eq!(level(path), Level::Fail);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            (level(path), level("sh"), level("no-such-program")),
            (Level::Ok, Level::Ok, Level::Fail)
        );
        assert_eq!(level(directory.path().to_str().unwrap()), Level::Fail);
    }

    #[test]
    fn keys_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let hook = Hook {
            target: HookTarget::Url("https://deploy.example/hook".to_owned()),
            timeout: TIMEOUT,
            retries: 0,
            secret_file: None,
        };
        let path = directory.path().join("key");
        assert_eq!(key(&path, &hook).level, Level::Fail);
        for (text, level) in [("whsec_c2VyaW4=\n", Level::Ok), ("not a key!", Level::Fail)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(key(&path, &hook).level, level, "{text}");
        }
    }

    #[test]
    fn the_file_is_read_and_its_directory_is_writable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("filter.json");
        assert_eq!(filter_file(&path).1.level, Level::Fail);
        std::fs::write(&path, include_str!("../../../envoy/filter.json")).unwrap();
        let (contents, finding) = filter_file(&path);
        assert_eq!((finding.level, contents.unwrap().filter()), (Level::Ok, "serin"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
