use super::*;

/// The table as section 3.4 of the paper writes it down: the place of every try is computed.
fn by_the_paper(names: &[&str], weights: &[u32], places: u64) -> Vec<u32> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|index| names[*index]);
    let most = *weights.iter().max().unwrap();
    let mut table = vec![u32::MAX; usize::try_from(places).unwrap()];
    let mut next = vec![0; names.len()];
    let mut credit = vec![0; names.len()];
    let mut free = table.len();
    while free > 0 {
        for index in order.iter().copied() {
            credit[index] += weights[index];
            if credit[index] < most || free == 0 {
                continue;
            }
            credit[index] -= most;
            let name = names[index];
            let (offset, skip) =
                (server_place(name, 0) % places, server_place(name, 1) % (places - 1) + 1);
            let slot = loop {
                let place = usize::try_from((offset + next[index] * skip) % places).unwrap();
                next[index] += 1;
                if table[place] == u32::MAX {
                    break place;
                }
            };
            table[slot] = u32::try_from(index).unwrap();
            free -= 1;
        }
    }
    table
}

#[test]
fn each_place_belongs_to_whom_the_paper_gives_it() {
    let names: Vec<String> = (0..600).map(|n| format!("10.0.{}.{}:80", n / 7, n % 7)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let weights: Vec<u32> = (0..600).map(|n| n % 5 + 1).collect();
    for (number, places) in [(1, 65_537), (2, 65_537), (37, 65_537), (600, 1_000_003)] {
        let (names, weights) = (&names[..number], &weights[..number]);
        let table = Maglev::new(names, weights).table;
        assert_eq!(table.len(), usize::try_from(places).unwrap());
        assert!(*table == by_the_paper(names, weights, places), "{number} servers");
    }
}

#[test]
fn shares_are_those_of_the_weights_to_one_place() {
    let table = Maglev::new(&["a", "b", "c"], &[1, 2, 4]).table;
    let of = |index| table.iter().filter(|owner| **owner == index).count();
    let shares: Vec<usize> = (0..3).map(of).collect();
    assert_eq!(shares.iter().sum::<usize>(), 65_537);
    for (share, expected) in shares.iter().zip([9_362, 18_725, 37_450]) {
        assert!(share.abs_diff(expected) <= 1, "{shares:?}");
    }
}
