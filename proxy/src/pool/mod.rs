//! The connections of one endpoint, a slot for each worker.

/// The connections of one endpoint.
#[derive(Debug)]
pub struct Pool {
    _workers: usize,
}

impl Pool {
    /// An empty pool with a slot for each worker.
    pub fn new(workers: usize) -> Self {
        Pool { _workers: workers }
    }
}
