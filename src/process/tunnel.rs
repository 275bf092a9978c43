//! A connection through a proxy: an HTTP proxy by CONNECT (RFC 9110 section 9.3.6), a SOCKS proxy by version
//! 5 (RFC 1928, with the login of RFC 1929). TLS with the API server goes through it end to end.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tower::BoxError;
use tower_service::Service;

use crate::kubernetes::client::ProxyRefusal;

/// Connects through a proxy, to which `connector` leads.
#[derive(Clone)]
pub(super) struct Tunnel<C> {
    connector: C,
    proxy: Uri,
    /// The proxy as `connector` takes it, which knows no SOCKS.
    address: Uri,
}

impl<C> Tunnel<C> {
    /// # Errors
    ///
    /// The proxy is none that can be connected to.
    pub(super) fn new(connector: C, proxy: &Uri) -> Result<Self, http::Error> {
        let scheme = if proxy.scheme_str() == Some("https") { "https" } else { "http" };
        let authority = proxy.authority().map(ToString::to_string).unwrap_or_default();
        let address = Uri::builder().scheme(scheme).authority(authority).path_and_query("/");
        Ok(Self { connector, proxy: proxy.clone(), address: address.build()? })
    }
}

impl<C> Service<Uri> for Tunnel<C>
where
    C: Service<Uri>,
    C::Response: Read + Write + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = self.connector.call(self.address.clone());
        let proxy = self.proxy.clone();
        Box::pin(async move {
            let mut stream = TokioIo::new(connecting.await.map_err(Into::into)?);
            let port = if server.scheme_str() == Some("http") { 80 } else { 443 };
            let port = server.port_u16().unwrap_or(port);
            let host = server.host().unwrap_or_default();
            if proxy.scheme_str() == Some("socks5") {
                socks(&mut stream, host, port, login(&proxy)).await?;
            } else {
                connect(&mut stream, host, port, login(&proxy)).await?;
            }
            Ok(stream.into_inner())
        })
    }
}

async fn connect<S>(
    stream: &mut S,
    host: &str,
    port: u16,
    login: Option<(Vec<u8>, Vec<u8>)>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let login = login.map(|(user, password)| STANDARD.encode([user, password].join(&b':')));
    let login = login.map(|pair| format!("Proxy-Authorization: Basic {pair}\r\n"));
    let login = login.unwrap_or_default();
    let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    // One byte at a time: the bytes after the head belong to the API server.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_HEAD {
            return Err(refused("its answer is too long"));
        }
        answer.push(stream.read_u8().await?);
    }
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status {
        [b'2', _, _] => Ok(()),
        b"407" => Err(refused("it wants another user or password")),
        _ => Err(refused("it does not connect to the API server")),
    }
}

async fn socks<S>(
    stream: &mut S,
    host: &str,
    port: u16,
    login: Option<(Vec<u8>, Vec<u8>)>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let method = if login.is_some() { PASSWORD } else { NO_LOGIN };
    stream.write_all(&[VERSION, 1, method]).await?;
    stream.flush().await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    if chosen != [VERSION, method] {
        return Err(refused("it wants another login"));
    }
    if let Some((user, password)) = login {
        let mut message = vec![1];
        for part in [user, password] {
            message.push(length(&part)?);
            message.extend(part);
        }
        stream.write_all(&message).await?;
        stream.flush().await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await?;
        if !matches!(answer, [_, 0]) {
            return Err(refused("it wants another user or password"));
        }
    }
    // The proxy resolves the name.
    let name = host.trim_start_matches('[').trim_end_matches(']').as_bytes();
    let mut request = vec![VERSION, 1, 0, NAME, length(name)?];
    request.extend(name);
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    let [_, reply, _, kind] = answer;
    if reply != 0 {
        return Err(refused("it does not connect to the API server"));
    }
    let bound = match kind {
        1 => 4,
        4 => 16,
        _ => usize::from(stream.read_u8().await?),
    };
    let mut address = vec![0; bound + 2];
    stream.read_exact(&mut address).await?;
    Ok(())
}

/// User and password in a URL, decoded.
fn login(proxy: &Uri) -> Option<(Vec<u8>, Vec<u8>)> {
    let (login, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Some((decoded(user), decoded(password)))
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.split_at_checked(2).filter(|_| *first == b'%');
        let code = digits.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok().filter(|it| !it.starts_with('+'))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, left) = code.unwrap_or((*first, after));
        bytes.push(byte);
        rest = left;
    }
    bytes
}

fn length(part: &[u8]) -> io::Result<u8> {
    // It fails for one reason alone.
    u8::try_from(part.len()).map_err(|_| refused("it takes names of 255 bytes at most"))
}

fn refused(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionRefused, ProxyRefusal(text))
}

const MAX_HEAD: usize = 16 * 1024;
const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NAME: u8 = 3;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn pair() -> Option<(Vec<u8>, Vec<u8>)> {
        login(&"http://user:w%40rd@proxy:3128".parse().unwrap())
    }

    #[tokio::test]
    async fn an_http_proxy_is_asked_to_connect_with_the_decoded_login() {
        let (mut ours, mut proxy) = duplex(1000);
        proxy.write_all(b"HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\nTLS").await.unwrap();

        connect(&mut ours, "api.example", 6443, pair()).await.unwrap();

        let mut head = vec![0; 1000];
        let read = proxy.read(&mut head).await.unwrap();
        let expected = "CONNECT api.example:6443 HTTP/1.1\r\nHost: api.example:6443\r\n\
            Proxy-Authorization: Basic dXNlcjp3QHJk\r\n\r\n";
        assert_eq!(std::str::from_utf8(&head[..read]).unwrap(), expected);
        let mut rest = [0; 3];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"TLS");
    }

    #[tokio::test]
    async fn an_http_proxy_that_refuses_says_why() {
        for (answer, text) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "another user or password"),
            ("HTTP/1.0 403 Forbidden\r\n\r\n", "does not connect"),
        ] {
            let (mut ours, mut proxy) = duplex(1000);
            proxy.write_all(answer.as_bytes()).await.unwrap();
            let error = connect(&mut ours, "api.example", 443, None).await.unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn a_socks_proxy_resolves_the_name_and_is_told_who_asks() {
        let (mut ours, mut proxy) = duplex(1000);
        proxy.write_all(&[5, 2, 1, 0, 5, 0, 0, 1, 10, 0, 0, 1, 0, 80]).await.unwrap();

        socks(&mut ours, "api.example", 6443, pair()).await.unwrap();

        let mut sent = vec![0; 1000];
        let read = proxy.read(&mut sent).await.unwrap();
        let mut expected = vec![5, 1, 2, 1, 4];
        expected.extend(b"user\x04w@rd");
        expected.extend([5, 1, 0, 3, 11]);
        expected.extend(b"api.example");
        expected.extend(6443_u16.to_be_bytes());
        assert_eq!(sent[..read], expected);
    }

    #[test]
    fn a_login_is_decoded() {
        for (text, expected) in [("a%3Ab", "a:b"), ("a+b%2", "a+b%2"), ("%+1", "%+1"), ("", "")] {
            assert_eq!(decoded(text), expected.as_bytes());
        }
        assert_eq!(login(&"http://proxy:3128".parse().unwrap()), None);
    }
}
