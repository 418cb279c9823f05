//! A connection's bytes under a clock: the end is shown to hyper when it idles too long, asks too slowly, takes its answer too
//! slowly, or has to make room. hyper's own timer cannot tell an idle connection from a slow request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lamplighter_core::metrics::Histogram;
use lamplighter_core::net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;
use super::roster::Seat;

#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    seat: Seat,
    limits: Limits,
    answer_seconds: Histogram,
    /// When the first byte of the request came that has no answer yet.
    asked: Option<Instant>,
    deadline: Pin<Box<Sleep>>,
}

impl Watched {
    pub(super) fn new(
        stream: Stream,
        seat: Seat,
        limits: Limits,
        answer_seconds: Histogram,
    ) -> Self {
        Self {
            stream,
            seat,
            limits,
            answer_seconds,
            asked: None,
            deadline: Box::pin(tokio::time::sleep(limits.idle)),
        }
    }

    /// Whether the connection has to end; otherwise the task is woken when it has to.
    fn must_end(&mut self, cx: &mut Context<'_>) -> bool {
        self.seat.must_go(cx.waker()) || self.deadline.as_mut().poll(cx).is_ready()
    }

    fn note_read(&mut self) {
        if self.asked.is_none() {
            let now = Instant::now();
            self.asked = Some(now);
            self.deadline.as_mut().reset(now + self.limits.request);
        }
    }

    fn note_written(&mut self) {
        let now = Instant::now();
        if let Some(asked) = self.asked.take() {
            self.answer_seconds.observe((now - asked).as_secs_f64());
            self.seat.answered();
        }
        self.deadline.as_mut().reset(now + self.limits.idle);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => {
                if buffer.filled().len() > before {
                    this.note_read();
                }
                Poll::Ready(outcome)
            }
            // nothing read: for hyper the client has closed
            Poll::Pending if this.must_end(cx) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, buffer) {
            Poll::Ready(outcome) => {
                if outcome.is_ok() {
                    this.note_written();
                }
                Poll::Ready(outcome)
            }
            Poll::Pending if this.must_end(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
