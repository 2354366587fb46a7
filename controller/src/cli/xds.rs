//! The xDS server of `serin serve`, by flags.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use clap::Args;
use serin_core::spec;

use super::CliError;
use crate::files;
use crate::routers::ConfigSinks;
use crate::routers::xds_group::XdsGroups;
use crate::storage::sqlite::Store;
use crate::xds::publisher::Publisher;
use crate::xds::server::XdsServer;
use crate::xds::template::FilterTemplate;
use crate::xds::tls::TlsFiles;

/// Flags of the xDS server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fleets of proxies")]
pub(super) struct XdsArgs {
    /// Serve the filter's configuration over gRPC (xDS) at this address. Other addresses than
    /// loopback require --xds-client-ca
    #[arg(long, value_name = "ADDRESS", env = "SERIN_XDS_LISTEN", requires = "xds_filter")]
    xds_listen: Option<SocketAddr>,

    /// Template of the filter for proxies: the module, its failure policy (envoy/filter.json)
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_FILTER")]
    xds_filter: Option<PathBuf>,

    /// Certificate of the server, in PEM
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_CERTIFICATE", requires = "xds_key")]
    xds_certificate: Option<PathBuf>,

    /// Private key of the server, in PEM
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_KEY", requires = "xds_certificate")]
    xds_key: Option<PathBuf>,

    /// Authority that certifies the proxies, in PEM; other clients are rejected
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_CLIENT_CA", requires = "xds_certificate")]
    xds_client_ca: Option<PathBuf>,
}

/// The running xDS server.
pub(super) struct XdsHandles {
    pub(super) sinks: ConfigSinks,
    /// Ends only with an error.
    pub(super) serving: Pin<Box<dyn Future<Output = String>>>,
}

impl XdsArgs {
    /// Listens if the flags say so, and publishes the stored configuration.
    ///
    /// # Errors
    /// A flag is invalid, or the server can't start.
    pub(super) fn start(&self, store: &Arc<Store>) -> Result<XdsHandles, CliError> {
        let (Some(address), Some(path)) = (self.xds_listen, &self.xds_filter) else {
            return Ok(XdsHandles { sinks: ConfigSinks::default(), serving: Box::pin(pending()) });
        };
        if !address.ip().is_loopback() && self.xds_client_ca.is_none() {
            let reason = format!(
                "--xds-listen {address}: other machines can reach it and would receive the tokens of rollouts: --xds-client-ca is required"
            );
            return Err(CliError::invalid(reason));
        }
        let in_file =
            |reason: String| CliError::failed(format!("--xds-filter {}: {reason}", path.display()));
        let text =
            files::read(path, spec::MAX_BYTES).map_err(|error| in_file(error.to_string()))?;
        let template = FilterTemplate::parse(&text).map_err(|error| in_file(error.to_string()))?;
        let publisher = Publisher::default();
        let groups = XdsGroups::start(publisher.clone(), template, store.clone())
            .map_err(CliError::failed)?;
        let server = XdsServer::bind(address, self.tls().as_ref())
            .map_err(|error| CliError::failed(format!("--xds-listen: {error}")))?;
        tracing::info!("serving xDS on {}", server.address());
        let serving = async move {
            match server.serve(publisher).await {
                Ok(()) => "the xDS server has ended".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        let sinks = ConfigSinks::with_groups(groups);
        Ok(XdsHandles { sinks, serving: Box::pin(serving) })
    }

    fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.xds_certificate.clone()?, self.xds_key.clone()?);
        Some(TlsFiles { certificate, key, client_ca: self.xds_client_ca.clone() })
    }
}
