//! Reads a page of an Envoy's admin interface.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{DATE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::root_cause;

/// A request without an answer for this long counts as lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The size of a read from the connection, in bytes. Pages are longer.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// The error of a read of a page.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub enum ScrapeError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("answered {0}")]
    InvalidResponse(String),
}

impl ScrapeError {
    /// The error as a sentence about the proxy at this address.
    #[must_use]
    pub fn of(&self, address: &str) -> String {
        let interface = format!("Envoy's admin interface at {address}");
        match self {
            Self::Unreachable(cause) => format!("{interface} can't be reached: {cause}"),
            Self::Timeout(_) => format!("{interface} can't be reached: {self}"),
            Self::InvalidResponse(_) => format!("{interface} {self}"),
        }
    }
}

/// A page.
#[derive(Debug)]
pub(crate) struct AdminResponse {
    /// The proxy's `date` header.
    pub(crate) date: Option<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// The admin interface of one proxy.
///
/// A controller of a fleet mostly reads pages, so this client has no pool, no redirects, and no
/// address to parse per page. It keeps the connection between pages.
#[derive(Debug)]
pub(crate) struct AdminClient {
    /// Host and port of the address.
    authority: String,
    /// The size limit of a page, in bytes.
    limit: usize,
    connection: Option<SendRequest<Empty<Bytes>>>,
    /// Length of the last page.
    length: usize,
}

impl AdminClient {
    /// The interface at this base address, such as `http://127.0.0.1:9901`. A page has at most
    /// `limit` bytes. Does not connect yet.
    #[must_use]
    pub(crate) fn at(address: &str, limit: usize) -> Self {
        let authority = address.trim_start_matches("http://").trim_end_matches('/');
        Self { authority: authority.to_owned(), limit, connection: None, length: 0 }
    }

    /// Reads the page at this path.
    ///
    /// # Errors
    /// The interface can't be reached, is late, or answers with something else.
    pub(crate) async fn fetch(&mut self, path: &str) -> Result<AdminResponse, ScrapeError> {
        match timeout(TIMEOUT, self.read(path)).await {
            Ok(answer) => answer,
            Err(_) => Err(ScrapeError::Timeout(TIMEOUT)),
        }
    }

    async fn read(&mut self, path: &str) -> Result<AdminResponse, ScrapeError> {
        // The connection serves nothing else until the page has been read to its end.
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
        {
            // A connection that the proxy has closed is no evidence about the proxy.
            if let Ok(answer) = kept.send_request(self.request(path)?).await {
                return self.page(kept, answer).await;
            }
        }
        let mut connection = self.connect().await?;
        let answer = connection.send_request(self.request(path)?).await.map_err(unreachable)?;
        self.page(connection, answer).await
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ScrapeError> {
        let stream = TcpStream::connect(&self.authority).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(Some(READ_BUFFER_BYTES));
        let (send, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // The task ends with the sender; a pending response gets the error.
        tokio::spawn(connection);
        Ok(send)
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, ScrapeError> {
        let request = Request::get(path).header(HOST, &self.authority).body(Empty::new());
        request.map_err(unreachable)
    }

    async fn page(
        &mut self,
        connection: SendRequest<Empty<Bytes>>,
        mut answer: Response<Incoming>,
    ) -> Result<AdminResponse, ScrapeError> {
        if !answer.status().is_success() {
            return Err(ScrapeError::InvalidResponse(format!("with status {}", answer.status())));
        }
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.map(str::to_owned);
        let mut body = Vec::with_capacity(self.length);
        while let Some(frame) = answer.frame().await {
            let Ok(chunk) = frame.map_err(unreachable)?.into_data() else { continue };
            if body.len() + chunk.len() > self.limit {
                return Err(ScrapeError::InvalidResponse(format!(
                    "with more than {} bytes",
                    self.limit
                )));
            }
            body.extend_from_slice(&chunk);
        }
        self.length = body.len();
        self.connection = Some(connection);
        Ok(AdminResponse { date, body })
    }
}

fn unreachable(error: impl std::error::Error + 'static) -> ScrapeError {
    ScrapeError::Unreachable(root_cause(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that closes each connection silently after so many pages. Returns its address and
    /// the number of connections.
    async fn serve(pages: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                for _ in 0..pages {
                    let mut asked = Vec::new();
                    while !asked.ends_with(b"\r\n\r\n") {
                        stream.read_buf(&mut asked).await.unwrap();
                    }
                    let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage";
                    stream.write_all(head.as_bytes()).await.unwrap();
                }
            }
        });
        (address, connections)
    }

    async fn connections_for(fetches: usize, pages: usize) -> usize {
        let (address, connections) = serve(pages).await;
        let mut admin = AdminClient::at(&address, 4);
        for _ in 0..fetches {
            assert_eq!(admin.fetch("/stats").await.unwrap().body, b"page");
        }
        connections.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_connection_lives_until_the_proxy_closes_it() {
        assert_eq!(connections_for(10, usize::MAX).await, 1);
        assert_eq!(connections_for(6, 2).await, 3);
    }

    #[tokio::test]
    async fn a_page_beyond_the_limit_is_refused() {
        let (address, _) = serve(1).await;
        let error = AdminClient::at(&address, 3).fetch("/stats").await.unwrap_err();
        assert_eq!(error.to_string(), "answered with more than 3 bytes");
    }

    #[tokio::test]
    async fn an_unfinished_page_closes_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut admin = AdminClient::at(&format!("http://{}", listener.local_addr().unwrap()), 10);
        tokio::spawn(async move {
            for body in ["half", "whole page"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{body}");
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        });
        let error = admin.fetch("/stats").await.unwrap_err();
        assert!(matches!(error, ScrapeError::Unreachable(_)), "{error}");
        assert_eq!(admin.fetch("/stats").await.unwrap().body, b"whole page");
    }
}
