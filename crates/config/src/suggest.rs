//! "Did you mean": the nearest valid word, where one is close enough to be a slip of the keyboard.

/// Advice naming the closest of `names`, or nothing when all are far from `word`.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, names).map(|name| format!("did you mean `{name}`?"))
}

/// The closest of `names`: at most a third of its letters (and at least one) may differ, where two
/// swapped letters count once; a word that differs in case or `-`/`_` only is always close.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A distance costs the product of both lengths, and the word comes from the file.
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (word.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_corrected() {
        assert_eq!(nearest("upsteam", ["listen", "upstream"]), Some("upstream"));
        assert_eq!(nearest("header-bytes", ["header_bytes", "headers"]), Some("header_bytes"));
    }

    #[test]
    fn a_distant_word_is_left_alone() {
        assert_eq!(nearest("backend", ["listen", "upstream", "route"]), None);
    }
}
