//! TLS for the xDS server, from PEM files that are read once, when it starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use thiserror::Error;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// How long a client may take for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the keys are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate, and those that lead from it to its authority's.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities by which clients have to be certified. Without it anybody is served.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with one of the files.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum TlsError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{path}: no {what} in PEM format: {cause}")]
    Pem { path: PathBuf, what: &'static str, cause: pem::Error },
    #[error("{certificate} and {key} are no certificate and its key: {cause}", certificate = certificate.display())]
    Pair { certificate: PathBuf, key: PathBuf, cause: String },
    #[error("{path}: no authority for clients: {cause}")]
    Authority { path: PathBuf, cause: String },
}

impl TlsFiles {
    /// The server with these certificates.
    pub(super) fn secure(&self, server: Server) -> Result<Server, TlsError> {
        let certificate = certificates(&self.certificate)?;
        let key = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&key).map_err(|cause| TlsError::Pem {
            path: self.key.clone(),
            what: "private key",
            cause,
        })?;
        let config = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .timeout(HANDSHAKE_TIMEOUT);
        // Tried without the clients' authority first, so that it is known whose fault a failure is.
        let secured =
            server.clone().tls_config(config.clone()).map_err(|error| TlsError::Pair {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
                cause: chain(&error),
            })?;
        let Some(path) = &self.client_ca else { return Ok(secured) };
        let config = config.client_ca_root(Certificate::from_pem(certificates(path)?));
        server
            .tls_config(config)
            .map_err(|error| TlsError::Authority { path: path.clone(), cause: chain(&error) })
    }
}

/// The file, which has at least one certificate and none that is broken.
fn certificates(path: &Path) -> Result<Vec<u8>, TlsError> {
    let text = read(path)?;
    let broken = |cause| TlsError::Pem { path: path.to_owned(), what: "certificate", cause };
    CertificateDer::from_pem_slice(&text).map_err(broken)?;
    CertificateDer::pem_slice_iter(&text).try_for_each(|it| it.map(drop)).map_err(broken)?;
    Ok(text)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Io { path: path.to_owned(), cause })
}

/// tonic's own text does not say what the matter is.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests;
