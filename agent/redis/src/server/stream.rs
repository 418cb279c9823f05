//! The bytes to a server, plain or over TLS.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// A connection to a server: plain on the left, over TLS on the right.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;
