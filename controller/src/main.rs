//! The `serin` command.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    serin::cli::main().await
}
