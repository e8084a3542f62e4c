//! A second copy of a request's head, for whoever may have to send it again: a retry, a refused stream, a mirror. It
//! carries no extensions, which belong to the message that came.

/// The head of `request`, without its body.
pub fn copy<B>(request: &http::Request<B>) -> http::Request<()> {
    let mut head = http::Request::new(());
    head.method_mut().clone_from(request.method());
    head.uri_mut().clone_from(request.uri());
    head.headers_mut().clone_from(request.headers());
    *head.version_mut() = request.version();
    head
}
