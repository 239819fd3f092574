//! Session tickets (RFC 5077, RFC 8446 §4.6.1). Their keys change every few hours and are shared by
//! all workers and by all configurations of the process, so that neither a reload nor another
//! worker costs a full handshake.
//!
//! A ticket carries who the client was. So what is issued by one rule for client certificates must
//! not be good for another one: each has keys of its own.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use sha2::{Digest, Sha256};

/// The proof that a client owes: a hash of the authorities and whether it must.
pub(super) type TicketRule = [u8; 32];

/// The rule for these authorities' certificates.
pub(super) fn ticket_rule<'a>(
    authorities: impl Iterator<Item = &'a [u8]>,
    required: bool,
) -> TicketRule {
    let mut hash = Sha256::new_with_prefix([u8::from(required)]);
    for authority in authorities {
        hash.update((authority.len() as u64).to_le_bytes());
        hash.update(authority);
    }
    hash.finalize().into()
}

type KnownTickets = Vec<(TicketRule, Weak<dyn ProducesTickets>)>;

/// Returns what issues tickets for clients of this rule.
pub(super) fn tickets_for(rule: TicketRule) -> Result<Arc<dyn ProducesTickets>, String> {
    static KNOWN: std::sync::LazyLock<ArcSwap<KnownTickets>> =
        std::sync::LazyLock::new(ArcSwap::default);
    let found = |known: &KnownTickets| {
        known.iter().find(|(of, _)| *of == rule).and_then(|(_, tickets)| tickets.upgrade())
    };
    if let Some(tickets) = found(&KNOWN.load()) {
        return Ok(tickets);
    }
    let made = Ticketer::new().map_err(|error| error.to_string())?;
    // Only one thread compiles configurations.
    let mut all = KnownTickets::clone(&KNOWN.load());
    all.retain(|(_, tickets)| tickets.strong_count() > 0);
    all.push((rule, Arc::downgrade(&made)));
    KNOWN.store(Arc::new(all));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rule_has_the_same_keys_and_another_one_others() {
        let (none, some) =
            (ticket_rule([].into_iter(), false), ticket_rule([&b"ca"[..]].into_iter(), true));
        let first = tickets_for(none).unwrap();
        assert!(Arc::ptr_eq(&first, &tickets_for(none).unwrap()));
        let second = tickets_for(some).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        let ticket = first.encrypt(b"session").unwrap();
        assert_eq!(first.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(second.decrypt(&ticket), None);
    }
}
