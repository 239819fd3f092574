//! What is known of names: the last good answer of each, and what was wrong with the latest one.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::question::{Place, Question};
use crate::config::schema::words::{is_of_no_machine, is_of_one_machine, needs_interface};

/// Places that one name may lead to; an answer may have any number.
pub(super) const PLACES: usize = 1_024;
/// Names that are remembered although nobody follows them any more: an operator may go back to
/// them.
const REMEMBERED: usize = 1024;

/// What name servers said to one question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The name itself, or the targets of its SRV records.
    pub(super) targets: Vec<Target>,
    /// SRV records that became no targets, because there are too many.
    pub(super) left_out: usize,
    /// The shortest time to live of all that was said; none where nobody told one.
    pub(super) ttl: Option<Duration>,
}

/// One host that has addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The name.
    pub(super) host: Arc<str>,
    /// The port; 0 where records tell none.
    pub(super) port: u16,
    /// As its record has it.
    pub(super) priority: u16,
    /// As its record has it.
    pub(super) weight: u16,
    /// Its IPv4 addresses.
    pub(super) v4: Part,
    /// Its IPv6 addresses.
    pub(super) v6: Part,
}

/// The addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Nobody was asked.
    NotAsked,
    /// These; none if there are none.
    Found(Vec<IpAddr>),
    /// Nobody knows, for this reason.
    Failed(String),
}

/// The places that one name leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameAnswer {
    /// Those of the last good answer, in its order; none if there was none yet.
    pub(super) places: Arc<[Place]>,
    /// The reason why the latest look-up did not give all of them.
    pub fault: Option<Arc<String>>,
    /// The latest look-up was answered, and there was nothing.
    pub(super) nothing: bool,
    /// The time to live of the latest good answer.
    pub(super) ttl: Option<Duration>,
    /// What of the latest good answer is not used, and why, if there is such.
    pub(super) left_out: Option<String>,
}

impl NameAnswer {
    /// The addresses with a port.
    pub fn with_port(&self, port: u16) -> impl Iterator<Item = SocketAddr> {
        self.places.iter().map(move |place| SocketAddr::new(place.address.ip(), port))
    }

    /// Returns what is known after one more look-up. The order of the places alone is no news.
    fn after_lookup(&self, heard: Result<Heard, String>) -> Self {
        let heard = match heard {
            Ok(heard) => heard,
            Err(why) => return self.with_fault(why, false),
        };
        let Collected { found, fault, unusable } = self.collect_places(&heard);
        let set: BTreeSet<&Place> = found.iter().collect();
        if set.is_empty() {
            let nothing = fault.is_none();
            let none = || match unusable {
                Some(ip) => format!("it leads to {ip}, where no server can be"),
                None => "it has no address".to_owned(),
            };
            return self.with_fault(fault.unwrap_or_else(none), nothing);
        }
        let left_out = match unusable {
            Some(ip) => Some(format!("it also leads to {ip}, where no server can be")),
            None if heard.left_out > 0 => {
                Some(format!("{} of its records are not used: they are too many", heard.left_out))
            }
            None if set.len() > PLACES => Some(format!("only {PLACES} of its addresses are used")),
            None => None,
        };
        let places = if set.len() > PLACES {
            // The same ones whatever the order of the answer.
            set.into_iter().take(PLACES).cloned().collect()
        } else if set == self.places.iter().collect() {
            self.places.clone()
        } else {
            let mut once = BTreeSet::new();
            found.iter().filter(|place| once.insert(*place)).cloned().collect()
        };
        Self { places, fault: fault.map(Arc::new), nothing: false, ttl: heard.ttl, left_out }
    }

    /// Returns where the targets lead, by what is known where nobody can tell.
    fn collect_places(&self, heard: &Heard) -> Collected {
        let mut all = Collected::default();
        for target in &heard.targets {
            let mut any = false;
            let mut failed = None;
            for (part, v4) in [(&target.v4, true), (&target.v6, false)] {
                let at = |ip: IpAddr| Place {
                    priority: target.priority,
                    address: SocketAddr::new(ip, target.port),
                    weight: target.weight,
                    host: target.host.clone(),
                };
                match part {
                    Part::NotAsked => {}
                    Part::Found(ips) => {
                        let usable = ips.iter().copied().filter(|ip| is_usable(*ip)).map(at);
                        all.unusable =
                            all.unusable.or(ips.iter().copied().find(|ip| !is_usable(*ip)));
                        let before = all.found.len();
                        all.found.extend(usable);
                        any |= all.found.len() > before;
                    }
                    Part::Failed(why) => {
                        // What was known of this family stays; where nothing was, nothing is
                        // missed.
                        let of_host = |place: &&Place| {
                            place.host == target.host && place.address.is_ipv4() == v4
                        };
                        let known = self.places.iter().filter(of_host);
                        let known: BTreeSet<IpAddr> =
                            known.map(|place| place.address.ip()).collect();
                        failed = failed.or(Some((why, !known.is_empty())));
                        all.found.extend(known.into_iter().map(at));
                    }
                }
            }
            if let Some((why, missed)) = failed
                && (missed || !any)
            {
                all.fault = all.fault.or_else(|| Some(why.clone()));
            }
            all.trim_places();
        }
        all
    }

    fn with_fault(&self, why: String, nothing: bool) -> Self {
        Self { fault: Some(Arc::new(why)), nothing, ..self.clone() }
    }

    /// Returns whether somebody who acts on answers acts on this one as on the other.
    fn acts_alike(&self, other: &Self) -> bool {
        self.places == other.places
            && self.fault.is_some() == other.fault.is_some()
            && self.nothing == other.nothing
            && self.left_out == other.left_out
    }
}

/// Returns whether a server can be there: some resolvers answer with 0.0.0.0 for what they do not
/// allow.
fn is_usable(ip: IpAddr) -> bool {
    is_of_one_machine(ip) && !is_of_no_machine(ip) && !needs_interface(ip)
}

/// The places that the targets of one answer lead to.
#[derive(Debug, Default)]
struct Collected {
    found: Vec<Place>,
    /// The reason why some of them are not known.
    fault: Option<String>,
    /// An address where no server can be.
    unusable: Option<IpAddr>,
}

impl Collected {
    /// Lets go of most of those that are too many; one more than are used shows that there were.
    fn trim_places(&mut self) {
        if self.found.len() > 4 * PLACES {
            self.found.sort_unstable();
            self.found.dedup();
            self.found.truncate(PLACES + 1);
        }
    }
}

/// The places that all names lead to.
#[derive(Debug, Clone, Default)]
pub struct KnownName(HashMap<Question, Arc<NameAnswer>>);

impl KnownName {
    /// Returns what a question leads to; `None` when it was never asked.
    #[must_use]
    pub fn answer_to(&self, question: &Question) -> Option<&Arc<NameAnswer>> {
        self.0.get(question)
    }

    /// Takes in the result of a look-up. True if the places are others now, or if there is a
    /// fault where there was none, or the other way round.
    pub(super) fn learn_result(
        &mut self,
        question: &Question,
        heard: Result<Heard, String>,
    ) -> bool {
        let before = self.0.get(question).cloned().unwrap_or_default();
        let after = before.after_lookup(heard);
        let news = !before.acts_alike(&after);
        self.0.insert(question.clone(), Arc::new(after));
        news
    }

    /// Forgets names that nobody follows when there are too many of them.
    pub(super) fn forget_unfollowed(&mut self, is_followed: impl Fn(&Question) -> bool) {
        if self.0.len() > REMEMBERED {
            self.0.retain(|question, _| is_followed(question));
        }
    }
}

#[cfg(test)]
mod tests;
