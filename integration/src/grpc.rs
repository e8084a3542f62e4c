//! gRPC's framing on the wire: a flag, a length, a message. Enough to play all four kinds of call by hand, so that a test
//! sees each message when it arrives and not when a library hands it over.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// `content-type` of gRPC.
pub const CONTENT_TYPE: &str = "application/grpc";

/// One message with its prefix.
pub fn frame(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("a message of a test is short"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Messages out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub fn pop(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.0.get(1..5)?.try_into().ok()?) as usize;
        if self.0.len() < 5 + length {
            return None;
        }
        assert_eq!(self.0[0], 0, "the tests never compress");
        self.0.advance(5);
        Some(self.0.split_to(length).freeze())
    }
}
