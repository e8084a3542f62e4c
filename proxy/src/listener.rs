//! The data plane: worker threads, and the sockets they accept on.
//!
//! Each worker is a thread with its own current-thread runtime and its own accept socket for every listener
//! (SO_REUSEPORT), so that a connection, its requests and its pools never change threads. [`DataPlane::apply`] makes
//! the open sockets those of a snapshot: new ones are bound, gone ones drain and are cut when their time is over, and one
//! whose address stays keeps its connections whatever else about it changed.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use outrigger_config::error::{Code, Problem};
use outrigger_config::listener::{Direction, Identity, Listener};
use outrigger_config::name::ListenerName;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use crate::drain::Drain;
use crate::exchange::{Connection, Entrance, Shared};
use crate::overload::{Overload, PAUSE};
use crate::server;
use crate::snapshot::Snapshot;
use crate::stack::{self, HttpService};
use crate::telemetry::Sampler;

/// Connections that wait to be accepted, for each socket.
const BACKLOG: i32 = 4096;

/// Listeners that a worker may be asked to open before it has opened the first.
const ORDERS: usize = 4096;

/// How long what is left of a listener that is gone may go on, unless told otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The workers and their listeners.
#[derive(Debug)]
pub struct DataPlane {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    open: Mutex<BTreeMap<ListenerName, Open>>,
    /// Scopes of listeners that are gone and may still have something under way.
    closing: Mutex<Vec<Drain>>,
    drain_timeout: Duration,
}

#[derive(Debug)]
struct Worker {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Open {
    address: SocketAddr,
    door: Arc<Door>,
}

/// What an accept loop needs to know of its listener.
#[derive(Debug)]
struct Door {
    entrance: ArcSwap<Entrance>,
    drain: Drain,
}

/// What the control side asks of a worker.
#[derive(Debug)]
enum Order {
    /// To accept.
    Open(std::net::TcpListener, Arc<Door>),
    /// To cut what is left of a listener that is gone, when its time is over.
    Close(ListenerName, Drain, Duration),
}

impl DataPlane {
    /// Starts the workers; they accept nothing yet.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let workers = (0..shared.workers)
            .map(|number| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let (orders, inbox) = mpsc::channel(ORDERS);
                let shared = Arc::clone(&shared);
                let thread = std::thread::Builder::new()
                    .name(format!("worker-{number}"))
                    .spawn(move || runtime.block_on(work(number, shared, inbox)))?;
                Ok(Worker { orders, thread: Some(thread) })
            })
            .collect::<io::Result<_>>()?;
        let (open, closing) = (Mutex::default(), Mutex::default());
        Ok(DataPlane { shared, workers, open, closing, drain_timeout: DRAIN_TIMEOUT })
    }

    /// The same, with another time for what is left of a listener that is gone.
    #[must_use]
    pub fn with_drain_timeout(mut self, drain_timeout: Duration) -> Self {
        self.drain_timeout = drain_timeout;
        self
    }

    /// Makes the open listeners those of `snapshot`. Those that could not be opened are returned; the others serve.
    pub fn apply(&self, snapshot: &Snapshot) -> Vec<Problem> {
        let mut open = self.open.lock();
        let wanted: BTreeMap<&ListenerName, &Listener> =
            snapshot.listeners.iter().map(|listener| (&listener.name, &**listener)).collect();
        open.retain(|name, one| {
            let stays = wanted.get(name).is_some_and(|listener| listener.address == one.address);
            if !stays {
                tracing::info!(listener = %name, address = %one.address, "Listener closed");
                one.door.drain.start();
                let order = Order::Close(name.clone(), one.door.drain.clone(), self.drain_timeout);
                // One of them looks after all; what it cannot be told drains all the same.
                if self.workers.first().is_none_or(|worker| worker.orders.try_send(order).is_err()) {
                    tracing::warn!(listener = %name, "No worker cuts what is left of the listener");
                }
                let mut closing = self.closing.lock();
                closing.retain(|drain| drain.count() > 0);
                closing.push(one.door.drain.clone());
            }
            stays
        });
        let mut problems = Vec::new();
        for (name, listener) in wanted {
            let entrance = Arc::new(entrance(listener, self.shared.telemetry.sampler));
            if let Some(one) = open.get(name) {
                one.door.entrance.store(entrance);
                continue;
            }
            let door = Arc::new(Door { entrance: ArcSwap::new(entrance), drain: self.shared.drain.child() });
            match self.admit(listener.address, &door) {
                Ok(()) => {
                    tracing::info!(listener = %name, address = %listener.address, "Listener open");
                    open.insert(name.clone(), Open { address: listener.address, door });
                }
                Err(error) => {
                    let mut problem = Problem::new(Code::Conflict, format!("cannot be listened on: {error}"))
                        .with_value(listener.address)
                        .at_field("address");
                    problem.object = format!("Listener {name}");
                    problems.push(problem);
                }
            }
        }
        problems
    }

    fn admit(&self, address: SocketAddr, door: &Arc<Door>) -> io::Result<()> {
        // Sockets that share a port do so with any process of the same user, so that a port in use would go
        // unnoticed: one that does not share looks first.
        drop(bind(address, false)?);
        let sockets: Vec<_> =
            self.workers.iter().map(|_| bind(address, self.workers.len() > 1)).collect::<io::Result<_>>()?;
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let order = Order::Open(socket, Arc::clone(door));
            worker.orders.try_send(order).map_err(|_| io::Error::other("the worker does not answer"))?;
        }
        Ok(())
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.open.lock().values().map(|one| one.door.drain.count()).sum()
    }

    /// Stops accepting and lets what is under way finish, for at most `timeout`; what is left is cut. Returns whether
    /// everything finished by itself.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.shared.drain.start();
        let mut scopes: Vec<Drain> = self.open.lock().values().map(|one| one.door.drain.clone()).collect();
        scopes.append(&mut self.closing.lock());
        let drained = futures_util::future::join_all(scopes.iter().map(|scope| scope.run(timeout))).await;
        drained.into_iter().all(|finished| finished)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shared.drain.start();
        for worker in &mut self.workers {
            let (closed, _) = mpsc::channel(1);
            worker.orders = closed;
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// What rooms may know of a listener.
pub(crate) fn entrance(listener: &Listener, sampler: Option<Sampler>) -> Entrance {
    let caller = |identity: &Identity| HeaderValue::from_str(&identity.workload.to_string()).ok();
    Entrance {
        caller: listener.identity.as_ref().and_then(caller),
        name: listener.name.clone(),
        direction: listener.direction,
        identity: listener.identity.clone().map(Arc::new),
        sampler: sampler.unwrap_or(Sampler::following(listener.telemetry.sample)),
        access_log: listener.telemetry.access_log,
    }
}

fn bind(address: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A worker's life: it accepts on what it is told to, until nobody can tell it anything.
async fn work(number: usize, shared: Arc<Shared>, mut inbox: mpsc::Receiver<Order>) {
    let (inbound, outbound) = (stack::inbound(), stack::outbound());
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Open(socket, door) => match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    let stacks = [inbound.clone(), outbound.clone()];
                    tokio::spawn(accept(number, Arc::clone(&shared), socket, door, stacks));
                }
                Err(error) => tracing::error!(%error, "A listener could not be taken over"),
            },
            Order::Close(name, drain, timeout) => drop(tokio::spawn(close(name, drain, timeout))),
        }
    }
}

/// Lets what is left of a listener that is gone finish, and cuts what did not in time.
async fn close(name: ListenerName, drain: Drain, timeout: Duration) {
    if !drain.run(timeout).await {
        tracing::warn!(listener = %name, "The time to drain is over; what was left of the listener is cut");
    }
}

/// The next connection, once there is room for one; those that wait are in the socket's own queue.
async fn next(
    socket: &tokio::net::TcpListener,
    overload: &Overload,
) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    while overload.refuses() {
        tokio::time::sleep(PAUSE).await;
    }
    socket.accept().await
}

async fn accept(
    worker: usize,
    shared: Arc<Shared>,
    socket: tokio::net::TcpListener,
    door: Arc<Door>,
    [inbound, outbound]: [HttpService; 2],
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.drain.draining() => return,
            accepted = next(&socket, &shared.overload) => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A caller that left early is nothing; a want of descriptors or memory passes.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    tracing::warn!(%error, "Accepting pauses");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let place = tokio::select! {
            biased;
            () = door.drain.draining() => return,
            place = shared.overload.place() => place,
        };
        // Heads are small and waited for; a failure here only costs speed.
        let _ = tcp.set_nodelay(true);
        let entrance = door.entrance.load_full();
        let stack = match entrance.direction {
            Direction::Inbound => inbound.clone(),
            Direction::Outbound => outbound.clone(),
        };
        let (drain, shared) = (door.drain.clone(), Arc::clone(&shared));
        let busy = drain.busy();
        let connection = Connection { worker, peer, entrance, side: None, drain, shared, place: Some(place) };
        let served = server::serve(tcp, Box::new(connection), stack);
        tokio::spawn(async move {
            served.await;
            drop(busy);
        });
    }
}
