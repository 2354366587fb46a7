//! The `serin` command.

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    serin::cli::main().await
}
