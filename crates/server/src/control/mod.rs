//! The control plane: what watches the cluster while the cores serve it.
//!
//! In: settings, failures the cores met. Out: snapshots of the topology behind an atomic
//! pointer, which the cores read.
//!
//! It is the library's own health monitor on a tokio runtime in a thread of its own, so that
//! nothing it waits for holds up a client.

mod desk;
mod left;
mod lookups;
mod statistics;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use pgherd::HealthMonitor;
use pgherd_core::id::NodeId;
use pgherd_core::{Settings, Topology};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use crate::addresses::{Addresses, LookUp, keep_fresh};
use crate::reactor::mio_driver::Mailbox;
use crate::web::Web;

pub(crate) use desk::Desk;
pub(crate) use left::{Left, LeftDesk};
use lookups::Lookups;
pub(crate) use statistics::write_statistics;

/// Watches the nodes, and what their names stand for, until it is stopped.
pub(crate) struct ControlPlane {
    monitor: Arc<HealthMonitor>,
    desk: Desk,
    left: LeftDesk,
    stop: oneshot::Sender<()>,
    runtime: Handle,
    thread: thread::JoinHandle<()>,
}

impl ControlPlane {
    /// Begins to watch the nodes of `topology`.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptors.
    pub(crate) fn start(
        held: Arc<ArcSwap<Settings>>,
        topology: Topology,
        addresses: impl IntoIterator<Item = Arc<Addresses>>,
        look_up: LookUp,
        mailboxes: Arc<[Mailbox]>,
    ) -> io::Result<Self> {
        let settings = held.load_full();
        let (ttl, retry) = (settings.pool.dns_ttl, settings.pool.dns_retry);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let monitor = {
            let _inside = runtime.enter();
            Arc::new(HealthMonitor::spawn(settings, topology))
        };
        let handle = runtime.handle().clone();
        let left = LeftDesk::new(Arc::clone(&held), Arc::clone(&monitor));
        let lookups = Lookups::new(held, monitor.shared());
        let (stop, stopped) = oneshot::channel();
        let (desk, questions) = desk::desk();
        let watched = Arc::clone(&monitor);
        let addresses = addresses.into_iter().collect::<Vec<_>>();
        let watch = async move {
            let keep = |addresses| tokio::spawn(keep_fresh(addresses, look_up.clone(), ttl, retry));
            let fresh: Vec<_> = addresses.into_iter().map(keep).collect();
            let answering = tokio::spawn(questions.answer(mailboxes, lookups));
            // An error means that the sender is gone, which is a reason to stop as well.
            let _ = stopped.await;
            fresh.iter().for_each(JoinHandle::abort);
            answering.abort();
            watched.shutdown().await;
        };
        let thread = thread::Builder::new().name("control".to_owned());
        let thread = thread.spawn(move || runtime.block_on(watch))?;
        Ok(Self { monitor, desk, left, stop, runtime: handle, thread })
    }

    /// Does something else beside, for as long as it watches.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// The pointer that every new snapshot is published through.
    pub(crate) fn topology(&self) -> Arc<ArcSwap<Topology>> {
        self.monitor.shared()
    }

    /// Where the cores report a node that failed them. Takes a short lock; called on failures
    /// only.
    pub(crate) fn failures(&self) -> impl Fn(NodeId, &str) + Send + Sync + 'static {
        let monitor = Arc::clone(&self.monitor);
        move |node, text| monitor.report_failure(node, text)
    }

    /// Where the cores ask what would hold them up.
    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Where consoles ask for transactions that are prepared.
    pub(crate) fn left(&self) -> LeftDesk {
        self.left.clone()
    }

    /// The watch over the nodes.
    pub(crate) fn monitor(&self) -> Arc<HealthMonitor> {
        Arc::clone(&self.monitor)
    }

    /// Answers over HTTP until the watch ends. Whoever is answered is answered to the end if it is
    /// aborted, and nobody else is.
    ///
    /// # Errors
    /// When the system cannot wait for the listener.
    pub(crate) fn answer(&self, listener: TcpListener, web: Web) -> io::Result<AbortHandle> {
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(self.runtime.spawn(web.serve(listener)).abort_handle())
    }

    /// Ends the watch and waits for its thread.
    pub(crate) fn stop(self) {
        // Fails if the thread has ended already.
        let _ = self.stop.send(());
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").finish_non_exhaustive()
    }
}
