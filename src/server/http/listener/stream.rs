//! The bytes of a connection, watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::ConnectionState;

/// Notes when the client sends, and lets it read an answer that came before it had sent all.
///
/// Closing a socket that holds unread bytes resets it, and a reset takes the answer from the client
/// before it was read. So what the client still sends is thrown away for a moment:
/// [`Activity::leave`] has it end.
#[derive(Debug)]
pub(super) struct MonitoredStream<I> {
    inner: I,
    activity: Arc<ConnectionState>,
    is_shut: bool,
    thrown_away: usize,
}

impl<I> MonitoredStream<I> {
    pub(super) fn new(inner: I, activity: Arc<ConnectionState>) -> Self {
        Self { inner, activity, is_shut: false, thrown_away: 0 }
    }
}

impl<I: AsyncRead + Unpin> MonitoredStream<I> {
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        while self.thrown_away < MAX_DISCARDED {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.thrown_away += buffer.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for MonitoredStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.on_read();
        }
        read
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MonitoredStream<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
            self.is_shut = true;
            self.activity.close_gracefully();
        }
        if self.activity.is_unread() {
            ready!(self.poll_discard(context));
        }
        Poll::Ready(Ok(()))
    }
}

/// Sixteen times what a body may have.
const MAX_DISCARDED: usize = 1024 * 1024;
