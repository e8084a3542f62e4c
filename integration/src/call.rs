//! A gRPC call made by hand: messages go out one by one and are seen one by one, whatever the kind of call.

use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};

use crate::behaviour::{Feed, fed, full};
use crate::client::{Client, ask};
use crate::grpc::{self, Frames};
use crate::wait;

/// A call under way.
#[derive(Debug)]
pub struct Call {
    feed: Option<Feed>,
    response: Response<Incoming>,
    frames: Frames,
    trailers: HeaderMap,
}

impl Call {
    /// Opens a call of `method` at `host` whose one message is all there is to it.
    pub async fn whole(client: &mut Client, host: &str, method: &str, message: &str) -> Call {
        let ask = ask(Method::POST, host, &format!("/test.Echo/{method}"), full(grpc::frame(message.as_bytes())));
        let response = client.attempt(ask.with("content-type", grpc::CONTENT_TYPE).with("te", "trailers"));
        let response = wait::at_most("the head of a call", response).await.expect("the call is answered");
        Call { feed: None, response, frames: Frames::default(), trailers: HeaderMap::new() }
    }

    /// Opens a call of `method` at `host`, with further fields, and sends its first message.
    pub async fn open(client: &mut Client, host: &str, method: &str, fields: &[(&str, &str)], first: &str) -> Call {
        let (feed, body) = fed();
        let mut ask = ask(Method::POST, host, &format!("/test.Echo/{method}"), body);
        ask = ask.with("content-type", grpc::CONTENT_TYPE).with("te", "trailers");
        for (name, value) in fields {
            ask = ask.with(name, value);
        }
        let response = client.attempt(ask);
        let _ = feed.send(Ok(Frame::data(grpc::frame(first.as_bytes())))).await;
        let response = wait::at_most("the head of a call", response).await.expect("the call is answered");
        Call { feed: Some(feed), response, frames: Frames::default(), trailers: HeaderMap::new() }
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &str) {
        let feed = self.feed.as_ref().expect("the call has not been finished");
        let _ = feed.send(Ok(Frame::data(grpc::frame(message.as_bytes())))).await;
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        self.feed = None;
    }

    /// The next message, or none once the call has ended.
    pub async fn hear(&mut self) -> Option<String> {
        loop {
            if let Some(message) = self.frames.pop() {
                return Some(String::from_utf8_lossy(&message).into_owned());
            }
            let frame = wait::at_most("a message", self.response.body_mut().frame()).await?;
            match frame.expect("the call is not broken off").into_data() {
                Ok(data) => self.frames.push(&data),
                Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
    }

    /// Finishes, reads to the end and gives the messages that were left and the status.
    pub async fn end(&mut self) -> (Vec<String>, Option<u32>) {
        self.finish();
        let mut messages = Vec::new();
        while let Some(message) = self.hear().await {
            messages.push(message);
        }
        (messages, self.status())
    }

    /// `grpc-status`, from the trailers or, where there is no body, from the head.
    pub fn status(&self) -> Option<u32> {
        let field = self.trailers.get("grpc-status").or_else(|| self.response.headers().get("grpc-status"))?;
        field.to_str().ok()?.parse().ok()
    }

    /// The response's fields.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Breaks the call off.
    pub fn cancel(self) {
        drop(self);
    }
}
