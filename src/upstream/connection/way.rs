//! How connections to a target are made, and what they have in common.

use crate::balance::Member;
use crate::endpoint::connect::ConnectWay;
use crate::net::{Ends, MadeWith};
use crate::tls::client::AlpnOffer;
use crate::upstream::TargetMembers;
use crate::upstream::choose::Chosen;
use crate::upstream::request::ForwardRequest;

/// Returns what is offered to the server.
pub(super) fn alpn_offer(job: &ForwardRequest<'_>, target: TargetMembers<'_>) -> AlpnOffer {
    match target.target.upstream.offer {
        // Every server can switch protocols with HTTP/1, few with HTTP/2.
        AlpnOffer::Either if job.request.upgrade.is_some() => AlpnOffer::Http1,
        offer => offer,
    }
}

/// Returns what a connection must have been made with, as [`ConnectWay::made_with`] says it of one
/// that is still to be made.
pub(super) fn made_with(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'_>,
    chosen: &Chosen<'_>,
) -> MadeWith {
    let secured = target.members.server(chosen.member).and_then(|server| server.secured.as_ref());
    let ends = job.request.ends.filter(|_| target.target.upstream.announce.is_some());
    MadeWith {
        tls: secured.map_or(0, |secured| secured.outgoing.id),
        ends: ends.map_or(0, |ends| ends.id),
    }
}

/// Returns how a connection that suits the request is made. How many streams the server allows is
/// not known yet.
pub(super) fn connect_way<'a>(
    job: &'a ForwardRequest<'_>,
    target: TargetMembers<'a>,
    member: &Member,
) -> ConnectWay<'a> {
    let upstream = &target.target.upstream;
    let ends = job.request.ends.filter(|_| upstream.announce.is_some());
    let header = upstream.announce.map(|form| match ends {
        Some(ends) => ends.header_for(form),
        None => Ends::anonymous_header(form),
    });
    ConnectWay {
        kept_for: upstream.limits.kept,
        streams: 0,
        secured: target.members.server(member).and_then(|server| server.secured.as_ref()),
        offer: alpn_offer(job, target),
        header,
        ends: ends.map_or(0, |ends| ends.id),
        head: upstream.limits.response_head,
    }
}
