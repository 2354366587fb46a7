//! TLS for the xDS server, from PEM files that are read once at the start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use thiserror::Error;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::files::{self, MAX_SECRET_BYTES};

/// Timeout of a client's handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The paths of the PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of the clients' certificates. Without it the server accepts every client.
    pub client_ca: Option<PathBuf>,
}

/// An unusable file.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum TlsError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{path}: no {what} in PEM format: {cause}")]
    Pem { path: PathBuf, what: &'static str, cause: pem::Error },
    #[error("{certificate} and {key} do not form a pair: {cause}", certificate = certificate.display())]
    Pair { certificate: PathBuf, key: PathBuf, cause: String },
    #[error("{path}: no usable authority for clients: {cause}")]
    Authority { path: PathBuf, cause: String },
}

impl TlsFiles {
    /// The server configuration with these certificates.
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
        // A first attempt without the clients' authority shows which file is at fault.
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

/// The file, which has at least one certificate and no invalid one.
fn certificates(path: &Path) -> Result<Vec<u8>, TlsError> {
    let text = read(path)?;
    let broken = |cause| TlsError::Pem { path: path.to_owned(), what: "certificate", cause };
    CertificateDer::from_pem_slice(&text).map_err(broken)?;
    CertificateDer::pem_slice_iter(&text).try_for_each(|it| it.map(drop)).map_err(broken)?;
    Ok(text)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(path, MAX_SECRET_BYTES)
        .map_err(|cause| TlsError::Io { path: path.to_owned(), cause })
}

/// tonic's own text omits the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests;
