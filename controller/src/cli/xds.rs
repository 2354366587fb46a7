//! The xDS server of `serin serve`, by flags.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use clap::Args;

use super::ExitStatus;
use crate::routers::ConfigSinks;
use crate::routers::xds_group::XdsGroups;
use crate::storage::sqlite::Store;
use crate::xds::publisher::Publisher;
use crate::xds::server::XdsServer;
use crate::xds::template::FilterTemplate;
use crate::xds::tls::TlsFiles;

/// Whether, where and how fleets of proxies are served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fleets of proxies")]
pub(super) struct XdsArgs {
    /// Serve the filter's configuration over gRPC (xDS) at this address. Others than this machine's own ask for --xds-client-ca
    #[arg(long, value_name = "ADDRESS", env = "SERIN_XDS_LISTEN", requires = "xds_filter")]
    xds_listen: Option<SocketAddr>,

    /// What proxies are served but for the configuration: the module, how it fails (envoy/filter.json)
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_FILTER")]
    xds_filter: Option<PathBuf>,

    /// The server's certificate, in PEM
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_CERTIFICATE", requires = "xds_key")]
    xds_certificate: Option<PathBuf>,

    /// Its key, in PEM
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_KEY", requires = "xds_certificate")]
    xds_key: Option<PathBuf>,

    /// Only proxies are served that this authority has certified, in PEM
    #[arg(long, value_name = "FILE", env = "SERIN_XDS_CLIENT_CA", requires = "xds_certificate")]
    xds_client_ca: Option<PathBuf>,
}

/// What serves fleets.
pub(super) struct XdsHandles {
    pub(super) sinks: ConfigSinks,
    /// Ends only if it can't go on.
    pub(super) serving: Pin<Box<dyn Future<Output = String>>>,
}

impl XdsArgs {
    /// Listens, if asked to, and publishes what was kept.
    ///
    /// # Errors
    /// How the command ends, and why.
    pub(super) fn start(&self, store: &Arc<Store>) -> Result<XdsHandles, (ExitStatus, String)> {
        let (Some(address), Some(path)) = (self.xds_listen, &self.xds_filter) else {
            return Ok(XdsHandles { sinks: ConfigSinks::default(), serving: Box::pin(pending()) });
        };
        if !address.ip().is_loopback() && self.xds_client_ca.is_none() {
            let reason = format!(
                "--xds-listen {address}: others can reach it, and would be told the tokens of rollouts, so --xds-client-ca is needed"
            );
            return Err((ExitStatus::Invalid, reason));
        }
        let in_file =
            |why: String| (ExitStatus::Failed, format!("--xds-filter {}: {why}", path.display()));
        let text = std::fs::read(path).map_err(|error| in_file(error.to_string()))?;
        let template = FilterTemplate::parse(&text).map_err(|error| in_file(error.to_string()))?;
        let publisher = Publisher::default();
        let groups = XdsGroups::start(publisher.clone(), template, store.clone())
            .map_err(|reason| (ExitStatus::Failed, reason))?;
        let server = XdsServer::bind(address, self.tls().as_ref())
            .map_err(|error| (ExitStatus::Failed, format!("--xds-listen: {error}")))?;
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
