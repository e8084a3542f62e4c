//! gRPC statuses beside HTTP's: what a caller of the one gets where the other was said.

/// The gRPC status of an HTTP status (gRPC's `http-grpc-status-mapping`, as proxies have it for their own answers).
pub fn of_http(status: u16) -> u8 {
    match status {
        200..=299 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The HTTP status of a gRPC status (`google.rpc.Code`).
pub fn to_http(status: u8) -> u16 {
    const STATUSES: [u16; 17] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
    STATUSES.get(usize::from(status)).copied().unwrap_or(500)
}

#[cfg(test)]
mod tests {
    use super::{of_http, to_http};

    #[test]
    fn success_is_success_and_unavailable_is_unavailable() {
        for (http, grpc) in [(200, 0), (503, 14), (401, 16), (403, 7)] {
            assert_eq!((of_http(http), to_http(grpc)), (grpc, http));
        }
        assert_eq!((of_http(418), to_http(77)), (2, 500));
    }
}
