//! One request, over any protocol and from any loopback address, and its complete response.
//!
//! [`crate::load`] sends many similar requests. Here each request has its own connection, which
//! ends with the call: a dropped call is a client that disconnects.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::Protocol;
use crate::load::{chain, grpc_status, text};
use crate::upstream::VERSION_HEADER;

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Call {
    target: SocketAddr,
    source: IpAddr,
    protocol: Protocol,
    method: Method,
    authority: String,
    path: String,
    headers: HeaderMap,
}

/// The response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The version that responded; `None` for Envoy's own response.
    pub version: Option<String>,
    /// `grpc-status`, from the trailers or from a trailers-only response.
    pub grpc_status: Option<u16>,
    /// Response headers.
    pub headers: HeaderMap,
}

impl Call {
    /// A plain request: GET, or POST for gRPC.
    pub fn new(target: SocketAddr, protocol: Protocol) -> Self {
        let mut headers = HeaderMap::new();
        if protocol == Protocol::Grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Self {
            target,
            source: Ipv4Addr::LOCALHOST.into(),
            protocol,
            method: if protocol == Protocol::Grpc { Method::POST } else { Method::GET },
            authority: target.to_string(),
            path: "/".to_owned(),
            headers,
        }
    }

    /// Adds a header, even if one of that name exists. The value may be any bytes that a header
    /// allows.
    ///
    /// # Panics
    /// The header is invalid.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header's value");
        self.headers.append(name, value);
        self
    }

    /// Sets `Host`, or `:authority`.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    /// Sets the path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Sets the method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the source address, one of 127.0.0.0/8.
    #[must_use]
    pub fn from(mut self, source: [u8; 4]) -> Self {
        self.source = Ipv4Addr::from(source).into();
        self
    }

    /// Sends the request and waits for the end of the response.
    ///
    /// # Errors
    /// The reason for an incomplete response.
    pub async fn send(self) -> Result<Answer, String> {
        self.exchange().await.map_err(|error| chain(&*error))
    }

    async fn exchange(self) -> Result<Answer, CallError> {
        let socket = TcpSocket::new_v4()?;
        // A cluster's address is not reached from one of these.
        if self.target.ip().is_loopback() {
            socket.bind((self.source, 0).into())?;
        }
        let stream = socket.connect(self.target).await?;
        // Drop closes the connection.
        let mut connection = JoinSet::new();
        let (head, body) = self.send_on(stream, &mut connection).await?.into_parts();
        let trailers = body.collect().await?.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            status: head.status.as_u16(),
            version: text(&head.headers, VERSION_HEADER).map(str::to_owned),
            grpc_status: grpc_status(&head.headers).or_else(|| grpc_status(&trailers)),
            headers: head.headers,
        })
    }

    async fn send_on(
        self,
        stream: TcpStream,
        connection: &mut JoinSet<hyper::Result<()>>,
    ) -> Result<Response<Incoming>, CallError> {
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        let request = Request::builder().method(self.method);
        let body = match self.protocol {
            // One empty message.
            Protocol::Grpc => Full::from(&[0_u8; 5][..]),
            Protocol::Http1 | Protocol::Http2 => Full::<Bytes>::default(),
        };
        let mut request = match self.protocol {
            Protocol::Http1 => request.uri(self.path).header(HOST, self.authority),
            Protocol::Http2 | Protocol::Grpc => request
                .uri(format!("http://{}{}", self.authority, self.path))
                .version(Version::HTTP_2),
        }
        .body(body)?;
        request.headers_mut().extend(self.headers);
        if self.protocol == Protocol::Http1 {
            let (mut sender, driver) = http1::handshake(stream).await?;
            connection.spawn(driver);
            Ok(sender.send_request(request).await?)
        } else {
            let (mut sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
            connection.spawn(driver);
            Ok(sender.send_request(request).await?)
        }
    }
}

impl Answer {
    /// A response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }
}

type CallError = Box<dyn Error + Send + Sync>;

/// Sends raw bytes on a new connection and returns the response until its end: for input that no
/// correct client sends.
///
/// # Panics
/// The connection fails.
pub async fn raw(target: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(target).await.expect("a connection");
    stream.write_all(bytes).await.expect("an open connection");
    let mut answer = vec![];
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}
