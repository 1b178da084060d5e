//! The grid of faults: each request of a save, a restore and a clean-up meets each fault, once and for ever. What must hold
//! in every cell is asserted in [`cell`]; the outcome of each stands in `docs/faults.md`, and a change there is a change of
//! behaviour.
//!
//! The normal run tries a sample. All of it, and the document written anew (takes half an hour):
//! `XCACHE_TEST_UPDATE=1 cargo test -p xcache-tests --test it grid -- --ignored`.

mod cell;
mod data;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cell::{Found, World};
use data::{ACTIONS, Action, FAULTS, Fault};

/// Actions tried at the same time. Most cells wait.
const PARALLEL: usize = 14;

/// Outcomes by action and fault, once and for ever.
type Grid = BTreeMap<(usize, usize, bool), Found>;

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md")
}

/// Tries the cells that `choose` wants. Those of an action follow each other, once and for ever apart.
fn try_cells(choose: impl Fn(usize, usize, bool) -> bool + Sync) -> Grid {
    let mut rows: Vec<_> = (0..ACTIONS.len()).flat_map(|action| [(action, false), (action, true)]).collect();
    // The completion of an upload is waited for longest: first.
    rows.sort_by_key(|&(action, _)| !ACTIONS[action].request.contains("uploadId"));
    let (grid, next) = (Mutex::new(Grid::new()), Mutex::new(rows.into_iter()));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some((number, is_lasting)) = { next.lock().unwrap().next() } {
                    let chosen: Vec<_> = (0..FAULTS.len()).filter(|&fault| choose(number, fault, is_lasting)).collect();
                    let action = &ACTIONS[number];
                    let world = (!chosen.is_empty()).then(|| World::new(action.flow));
                    for (fault, world) in
                        chosen.into_iter().flat_map(|fault| world.iter().map(move |world| (fault, world)))
                    {
                        let found = world.cell(action, &FAULTS[fault], is_lasting);
                        grid.lock().unwrap().insert((number, fault, is_lasting), found);
                    }
                }
            });
        }
    });
    grid.into_inner().unwrap()
}

#[test]
fn a_sample_of_the_grid_is_as_documented() {
    let known = read(&fs::read_to_string(document()).unwrap());
    let is_chosen = |action: usize, fault: usize, is_lasting: bool| {
        !FAULTS[fault].is_slow && (action * 5 + fault * 3 + usize::from(is_lasting) * 7).is_multiple_of(41)
    };
    let grid = try_cells(is_chosen);
    assert!(grid.len() > 10, "{}", grid.len());
    compare(&known, &grid);
}

#[test]
#[ignore = "takes half an hour"]
fn the_whole_grid_is_as_documented() {
    let grid = try_cells(|_, _, _| true);
    assert_eq!(grid.len(), ACTIONS.len() * FAULTS.len() * 2);
    if std::env::var_os("XCACHE_TEST_UPDATE").is_some() {
        fs::write(document(), print(&grid)).unwrap();
    }
    compare(&read(&fs::read_to_string(document()).unwrap()), &grid);
}

/// The outcome is what the document says, at about its cost at most.
fn compare(known: &BTreeMap<(String, String), [Found; 2]>, grid: &Grid) {
    let mut wrong = String::new();
    for (&(action, fault, is_lasting), found) in grid {
        let (Action { name, .. }, fault) = (&ACTIONS[action], &FAULTS[fault]);
        let expected =
            known.get(&((*name).to_owned(), fault.name.to_owned())).map(|cells| &cells[usize::from(is_lasting)]);
        let is_as_expected = expected.is_some_and(|expected| {
            (&expected.outcome, &expected.left) == (&found.outcome, &found.left)
                // Waits are random, and so is how many tries fit into a bound; and the machine may be busy.
                && found.requests <= expected.requests * 2 + 4
                && found.bound <= expected.bound * 4
        });
        if !is_as_expected {
            let times = if is_lasting { "always" } else { "once" };
            writeln!(wrong, "{name} / {} / {times}:\n  expected {expected:?}\n  found    {found:?}", fault.name)
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "docs/faults.md says otherwise:\n{wrong}");
}

const HEAD: &str = "\
# Faults

What the programs do when a request goes wrong: each action of a save, a restore and a clean-up against each fault, which strikes
its first request (once) or all of them (always). The tables are written by a test (`tests/it/grid`) and checked against the
programs: a sample in each run, all of it every week.

Whatever the cell, these hold, and the test asserts them: no entry is lost or changed; what is reported as saved is there; a hit
is the exact tree; a miss leaves no file behind; a save or restore ends with exit code 0; no delta is left without what it builds on.

A cell holds the outcome, how often the action was requested, the bound of the whole run in seconds, and what is left in the store
until the next clean-up, if anything is. \"hit\" and \"saved\" are in spite of the fault. DNS and TLS failures, which do not strike
one request, are `unreachable` in `tests/it/stores.rs`.
";

fn print(grid: &Grid) -> String {
    let mut text = HEAD.to_owned();
    for (number, action) in ACTIONS.iter().enumerate() {
        write!(text, "\n## {}\n\n| fault | once | always |\n| --- | --- | --- |\n", action.name).unwrap();
        for (fault, Fault { name, .. }) in FAULTS.iter().enumerate() {
            let cell = |is_lasting| {
                let Found { outcome, requests, bound, left } = &grid[&(number, fault, is_lasting)];
                let left = if left.is_empty() { String::new() } else { format!("; left: {left}") };
                format!("{outcome}; {requests}; {bound} s{left}")
            };
            writeln!(text, "| {name} | {} | {} |", cell(false), cell(true)).unwrap();
        }
    }
    text
}

/// The inverse of [`print`].
fn read(text: &str) -> BTreeMap<(String, String), [Found; 2]> {
    let mut known = BTreeMap::new();
    let mut action = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            action = name;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [fault, once, always] = cells[..]
            && once.contains("; ")
        {
            known.insert((action.to_owned(), fault.to_owned()), [once, always].map(read_cell));
        }
    }
    known
}

fn read_cell(cell: &str) -> Found {
    let mut parts = cell.split("; ");
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (outcome, requests, bound) = (next(), next(), next());
    let left = next().strip_prefix("left: ").unwrap_or_default().to_owned();
    let bound = bound.strip_suffix(" s").unwrap_or_default().parse().unwrap();
    Found { outcome, requests: requests.parse().unwrap(), bound, left }
}

#[test]
fn the_document_is_read_as_it_is_written() {
    let found = |left: &str| Found { outcome: "hit".to_owned(), requests: 3, bound: 10, left: left.to_owned() };
    let mut grid = Grid::new();
    for (action, fault) in (0..ACTIONS.len()).flat_map(|action| (0..FAULTS.len()).map(move |fault| (action, fault))) {
        grid.insert((action, fault, false), found(""));
        grid.insert((action, fault, true), found("intent, mark"));
    }
    let known = read(&print(&grid));
    assert_eq!(known.len(), ACTIONS.len() * FAULTS.len());
    compare(&known, &grid);
}
