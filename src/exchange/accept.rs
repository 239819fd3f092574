//! Weights of content negotiation (RFC 9110 §12.4.2).

/// The weight among an item's parameters, in thousandths (RFC 9110 §12.4.2); what is none counts as
/// 0.
pub(crate) fn parse_weight<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> u16 {
    let given = parameters.find_map(|parameter| {
        let (name, value) = parameter.trim_ascii().split_at_checked(2)?;
        name.eq_ignore_ascii_case(b"q=").then_some(value)
    });
    let Some(given) = given else { return 1000 };
    let parsed = std::str::from_utf8(given).ok().and_then(|text| text.parse::<f32>().ok());
    let weight = parsed.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
    (weight * 1000.0) as u16
}
