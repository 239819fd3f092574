//! Which servers there are and where they are, found out again and again while the proxy runs.
//!
//! Sources of whole lists send [`Updates`]. Beside them [`Names`] follows names on a thread of its
//! own and rings when something has changed: who wants to know asks what. What to do about it is
//! not decided here. Nothing but a good answer changes an address ([`KnownName`]): a name server
//! that fails, or says that there is nothing, takes no server away.

mod dns;
mod entry;
mod file;
mod follow;
pub mod guard;
mod known;
mod lists;
mod own;
mod question;
mod records;
pub mod registry;
mod resolver;
mod running;
pub mod source;
mod srv;
mod updates;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::config::schema::discovery::Elsewhere;
use crate::machine::bell::Bell;

pub use self::entry::Entry;
use self::follow::{Follower, System};
pub use self::known::{KnownName, NameAnswer};
pub use self::lists::{FoundLists, Heard, List, Lists};
pub use self::question::{Place, Question, Questions};
pub use self::records::{add_question, record_questions};
pub use self::running::RunningSources;
pub use self::source::{Origin, UpstreamSources};
pub use self::updates::{Update, Updates};

/// All that has been found out about servers.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Where names lead.
    pub names: Arc<KnownName>,
    /// The servers of each upstream that finds them elsewhere than in the configuration.
    pub lists: Arc<FoundLists>,
    /// Where the proxy itself listens.
    pub own: Arc<[SocketAddr]>,
}

impl Found {
    /// Returns whether an address is one of the proxy's own.
    #[must_use]
    pub fn is_own(&self, address: SocketAddr) -> bool {
        self.own.iter().any(|listens| own::is_same_place(*listens, address, own::is_local))
    }

    /// Returns what a source has told of the servers of an upstream, as far as it is believed.
    #[must_use]
    pub fn list_of(&self, upstream: &str, elsewhere: &Elsewhere) -> Option<&List> {
        self.lists.get(&(upstream.into(), Origin::from_source(elsewhere)))
    }
}

/// The names that are followed, and the thread that follows them. It ends when this is dropped.
#[derive(Debug)]
pub struct Names {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// The findings of the thread.
#[derive(Debug, Default)]
struct Shared {
    known: ArcSwap<KnownName>,
    /// Something in it is another than when somebody last asked.
    changed: AtomicBool,
    bell: Bell,
}

/// An order to the thread.
#[derive(Debug)]
enum Order {
    /// Follow these too, and tell when each of them was looked up.
    Learn(Questions, SyncSender<()>),
    /// Follow these and no others.
    Only(Questions),
    /// Look these up as soon as their last look-up is so long ago.
    Hurry(BTreeSet<Question>, Duration),
    /// Ask these name servers; the machine's own if there are none.
    AskAt(Vec<SocketAddr>),
}

impl Names {
    /// Starts the thread, which follows nothing yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn start_thread() -> io::Result<Self> {
        let (orders, received) = mpsc::channel(16);
        let shared: Arc<Shared> = Arc::default();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let follower = Follower::new(shared.clone(), System::default());
        std::thread::Builder::new()
            .name("names".into())
            .spawn(move || runtime.block_on(follower.run_follower(received)))?;
        Ok(Self { shared, orders })
    }

    /// All that is known.
    #[must_use]
    pub fn known(&self) -> Arc<KnownName> {
        self.shared.known.load_full()
    }

    /// Asks these name servers from now on; the machine's own if there are none.
    pub fn ask_at(&self, servers: Vec<SocketAddr>) {
        // An error means that the thread is gone.
        let _sent = self.orders.blocking_send(Order::AskAt(servers));
    }

    /// Follows these names too and says what is known once all of them were looked up, after `most`
    /// at the latest. Names that are followed already are not waited for.
    #[must_use]
    pub fn learn_names(&self, questions: Questions, most: Duration) -> Arc<KnownName> {
        if !questions.is_empty() {
            let (tell, told) = sync_channel(1);
            // Errors mean that the thread is gone, or that time is up.
            let _sent = self.orders.blocking_send(Order::Learn(questions, tell));
            let _in_time = told.recv_timeout(most);
        }
        self.known()
    }

    /// Follows these names and no others.
    pub fn follow_only(&self, questions: Questions) {
        // An error means that the thread is gone.
        let _sent = self.orders.blocking_send(Order::Only(questions));
    }

    /// Looks these names up as soon as their last look-up is `apart` ago, or never mind when the
    /// thread is busy.
    pub fn hurry_lookups(&self, questions: BTreeSet<Question>, apart: Duration) {
        if !questions.is_empty() {
            let _told_next_time = self.orders.try_send(Order::Hurry(questions, apart));
        }
    }

    /// The bell that rings when something has changed.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.shared.bell
    }

    /// Returns whether something has changed since this was asked last.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.shared.changed.swap(false, Ordering::AcqRel)
    }
}
