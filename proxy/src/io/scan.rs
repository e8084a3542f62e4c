//! What a request's head says and hyper does not show, read off its bytes as they pass.

/// What of a request's head hyper does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Nothing that matters.
    Nothing,
    /// A `Content-Length`, which it drops where `Transfer-Encoding` came before it.
    Length,
    /// Whether there was one: the head came together with an earlier request's (pipelined), where nobody looked.
    Head,
    /// A `#` in the request's target, which it drops with whatever follows it.
    Fragment,
}

/// Looks for a `#` in the first line, and for a line that begins with `content-length`, in the head that is being read,
/// however it is cut into pieces.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// How much of the name the current line has matched; `None` once it cannot.
    matched: Option<usize>,
    /// The current line is empty so far.
    line_empty: bool,
    /// A line that says something came: empty lines before the first are none of the head's (RFC 9112, 2.2).
    begun: bool,
    /// The first line is over.
    asked: bool,
    /// The head is over.
    over: bool,
    found: bool,
    fragment: bool,
}

impl HeadScan {
    const NAME: &'static [u8] = b"content-length";

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.over {
                return;
            }
            match (byte, self.matched) {
                (b'\n', _) => {
                    self.over = self.line_empty && self.begun;
                    self.asked = self.begun;
                    (self.matched, self.line_empty) = (Some(0), true);
                    rest = after;
                }
                (b'\r', _) => rest = after,
                (_, Some(matched)) if byte.eq_ignore_ascii_case(&Self::NAME[matched]) => {
                    (self.line_empty, self.begun) = (false, true);
                    self.matched = (matched + 1 < Self::NAME.len()).then_some(matched + 1);
                    self.found |= self.matched.is_none();
                    rest = after;
                }
                _ => {
                    (self.matched, self.line_empty, self.begun) = (None, false, true);
                    // The rest of the line says nothing more.
                    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    self.fragment |= !self.asked && memchr::memchr(b'#', &rest[..end]).is_some();
                    rest = &rest[end..];
                }
            }
        }
    }

    pub(super) fn take(&mut self) -> Hidden {
        match std::mem::take(self) {
            HeadScan { fragment: true, .. } => Hidden::Fragment,
            HeadScan { found: true, .. } => Hidden::Length,
            HeadScan { over: true, .. } => Hidden::Nothing,
            _ => Hidden::Head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadScan, Hidden};

    fn scan(pieces: &[&str]) -> Hidden {
        let mut scan = HeadScan::default();
        for piece in pieces {
            scan.push(piece.as_bytes());
        }
        scan.take()
    }

    #[test]
    fn a_content_length_is_found_however_it_is_cut() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nCoNtEnT-lEnGtH: 3\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(scan(&[&head[..cut], &head[cut..]]), Hidden::Length, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_behind_a_number_sign_is_seen_however_it_is_cut() {
        let head = "\r\nGET /a#b HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(scan(&[&head[..cut], &head[cut..]]), Hidden::Fragment, "cut at {cut}");
        }
        assert_eq!(scan(&["GET /a HTTP/1.1\r\nHost: a\r\nX: #1\r\n\r\n#"]), Hidden::Nothing);
    }

    #[test]
    fn empty_lines_before_a_head_are_none_of_it() {
        assert_eq!(scan(&["\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n"]), Hidden::Length);
    }

    #[test]
    fn only_a_field_of_the_head_counts() {
        for head in [
            &["GET /content-length HTTP/1.1\r\nX: content-length: 3\r\n\r\n"][..],
            &["POST / HTTP/1.1\r\nHost: a\r\n\r\n", "content-length: 3\r\n"],
            &["POST / HTTP/1.1\r\ncontent-lengt\r\n\r\n"],
        ] {
            assert_eq!(scan(head), Hidden::Nothing, "{head:?}");
        }
        assert_eq!(scan(&[]), Hidden::Head, "nobody saw it");
    }
}
