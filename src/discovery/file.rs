//! Sources that are files: `servers = { file = "…" }`.
//!
//! A thread of its own looks at all of them several times a second. How a file looks from outside
//! decides whether it is read, its content whether anybody is told. A file that takes another one's
//! place is read at once; one that is written in place when it has stood still for a look. One that
//! is gone or broken takes no server away.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::source::{SourceAccount, Statement, UpstreamSources, outside_allow};
use super::{Entry, Updates};
use crate::config::list::{LARGEST, ServerFile, TargetGroup};
use crate::config::schema::discovery::Elsewhere;
use crate::config::schema::words::ServerAddress;
use crate::files;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The label that says where a target is.
const ZONE: &str = "zone";

/// The files that are looked at, and the thread that does it. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Files {
    orders: SyncSender<Order>,
}

/// An order to the thread.
#[derive(Debug)]
enum Order {
    /// Look at these too, and tell when each of them was read.
    Learn(UpstreamSources, SyncSender<()>),
    /// Look at these and no others.
    Only(UpstreamSources),
}

impl Files {
    /// Starts the thread, which looks at nothing yet and sends what it finds as `updates`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn start_thread(updates: Updates) -> io::Result<Self> {
        let (orders, received) = sync_channel(16);
        let watch = FileWatch { updates, files: BTreeMap::new() };
        std::thread::Builder::new()
            .name("lists".into())
            .spawn(move || watch.run_watch(&received))?;
        Ok(Self { orders })
    }

    /// Looks at these too, and waits until they were read, for `most` at the longest. Those that
    /// are looked at already are not waited for.
    pub(super) fn learn_files(&self, sources: UpstreamSources, most: Duration) {
        if sources.values().any(|source| source.source.file_path().is_some()) {
            let (tell, told) = sync_channel(1);
            // Errors mean that the thread is gone, or that time is up.
            let _sent = self.orders.send(Order::Learn(sources, tell));
            let _in_time = told.recv_timeout(most);
        }
    }

    /// Looks at these and no others.
    pub(super) fn follow_only(&self, sources: UpstreamSources) {
        // An error means that the thread is gone.
        let _sent = self.orders.send(Order::Only(sources));
    }
}

/// All files that are looked at.
struct FileWatch {
    updates: Updates,
    files: BTreeMap<Arc<str>, WatchedFile>,
}

/// One of them.
struct WatchedFile {
    account: SourceAccount,
    /// The look of a moment ago.
    seen: FileLook,
    /// The look when it was read last.
    read: FileLook,
}

/// The look of a file from outside: device, inode, times and size; `None` for one that is not
/// there.
type FileLook = Option<(u64, u64, i64, i64, i64, i64, u64)>;

fn look_at(path: &Path) -> FileLook {
    // Through symbolic links: what they lead to is what is read.
    let meta = std::fs::metadata(path).ok()?;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), times.0, times.1, times.2, times.3, meta.size()))
}

/// Returns whether one file has taken the place of another one: nobody is still writing it, then.
fn is_replaced(before: FileLook, now: FileLook) -> bool {
    let file = |look: FileLook| look.map(|look| (look.0, look.1));
    before.is_some() && now.is_some() && file(before) != file(now)
}

impl FileWatch {
    fn run_watch(mut self, orders: &Receiver<Order>) {
        loop {
            let pause = if self.files.is_empty() { Duration::from_secs(60) } else { LOOK };
            match orders.recv_timeout(pause) {
                Ok(Order::Learn(sources, tell)) => {
                    self.add_sources(sources);
                    // Who waited may have gone.
                    let _told = tell.try_send(());
                }
                Ok(Order::Only(sources)) => {
                    self.files.retain(|upstream, _| sources.contains_key(upstream));
                    self.add_sources(sources);
                }
                Err(RecvTimeoutError::Timeout) => self.look_at_files(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn add_sources(&mut self, sources: UpstreamSources) {
        for (upstream, elsewhere) in sources {
            let Some(path) = elsewhere.source.file_path() else {
                self.files.remove(&upstream);
                continue;
            };
            if self.files.get(&upstream).is_some_and(|known| known.account.is_of(&elsewhere)) {
                continue;
            }
            let seen = look_at(&path.value);
            let account = SourceAccount::new(upstream.clone(), elsewhere.clone());
            let mut file = WatchedFile { account, seen, read: seen };
            file.tell_updates(&self.updates);
            self.files.insert(upstream, file);
        }
    }

    fn look_at_files(&mut self) {
        for file in self.files.values_mut() {
            let Some(path) = file.account.elsewhere().source.file_path() else { continue };
            let now = look_at(&path.value);
            let before = std::mem::replace(&mut file.seen, now);
            if file.read != now && (before == now || is_replaced(before, now)) {
                file.read = now;
                file.tell_updates(&self.updates);
            }
        }
    }
}

impl WatchedFile {
    /// Reads the file and sends what it says.
    fn tell_updates(&mut self, updates: &Updates) {
        let elsewhere = self.account.elsewhere().clone();
        if let Some(path) = elsewhere.source.file_path() {
            self.account.send_statement(read_list(&path.value, &elsewhere), updates);
        }
    }
}

/// The servers in a file, as far as they may be used. What is wrong names the file, and the place
/// in it.
fn read_list(path: &Path, elsewhere: &Elsewhere) -> Statement {
    let name = path.display().to_string();
    let text = files::read_text(path, LARGEST).map_err(|why| format!("{name}: {why}"));
    let read = text.and_then(|text| {
        ServerFile::parse(&name, text).map_err(|report| {
            // The first mistake has to do for a line of the log.
            report.lines().lines().next().unwrap_or_default().to_owned()
        })
    });
    let mut all = match read {
        Ok(file) => file_entries(&file),
        Err(fault) => return Statement { fault: Some(fault), ..Statement::default() },
    };
    let mut refused = Vec::new();
    all.retain(|entry| {
        let fits = match &entry.address {
            ServerAddress::Ip(address) => elsewhere.allows(*address),
            // The addresses of a name are found out later.
            ServerAddress::Name { .. } => true,
            ServerAddress::Unix(_) => elsewhere.allow.is_empty(),
        };
        if !fits {
            refused.push(entry.address.to_string());
        }
        fits
    });
    let fault = (!refused.is_empty()).then(|| format!("{name}: {}", outside_allow(&refused)));
    Statement { entries: Some(all.into()), fault, ttl: None }
}

/// The entries of a file; one that is there twice is one, as with Prometheus.
fn file_entries(file: &ServerFile) -> Vec<Entry> {
    let mut all: Vec<Entry> = match file {
        ServerFile::Servers(servers) => servers.iter().map(Entry::from).collect(),
        ServerFile::Targets(groups) => groups.iter().flat_map(entries_of).collect(),
    };
    let mut seen = HashSet::new();
    all.retain(|entry| seen.insert(entry.id.clone()));
    all
}

/// The entries of a group of targets. Labels that begin with two underscores are for programs.
fn entries_of(group: &TargetGroup) -> impl Iterator<Item = Entry> {
    let labels = group.labels.iter().filter(|(label, _)| !label.value.starts_with("__"));
    let labels: BTreeMap<String, String> =
        labels.map(|(label, value)| (label.value.clone(), value.clone())).collect();
    group.targets.iter().map(move |target| Entry {
        zone: labels.get(ZONE).cloned(),
        labels: labels.clone(),
        ..Entry::new(target.value.clone())
    })
}

#[cfg(test)]
mod tests;
