//! From what was found to a tree: in order, roots told apart, hard links recognised.

use std::collections::{HashMap, HashSet};

use super::walk::Found;
use super::{Node, NodeKind, Tree, TreeRoot};
use crate::archive::index::path_order;

/// Sorts the nodes, gives them to their roots, and finds hard links.
pub(super) fn arrange(mut roots: Vec<TreeRoot>, found: Found) -> Tree {
    let Found { mut nodes, ways, mut skipped } = found;
    // The stable sort knows sorted runs when it sees them.
    nodes.sort_by(in_order);
    if !ways.is_empty() {
        drop_empty_ways(&mut nodes, &ways);
    }
    let mut first_names: HashMap<(u64, u64), u32> = HashMap::new();
    for (number, node) in (0u32..).zip(&mut nodes) {
        if node.kind != NodeKind::File {
            continue;
        }
        match first_names.entry((node.stat.device, node.stat.inode)) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(number);
            }
            std::collections::hash_map::Entry::Occupied(first) => node.kind = NodeKind::HardLink(*first.get()),
        }
    }
    let mut start = 0;
    for (number, root) in (0u32..).zip(&mut roots) {
        let count = nodes[start..].partition_point(|node| node.root == number);
        root.nodes = start..start + count;
        start += count;
    }
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Tree { roots, nodes, skipped }
}

/// Root by root, each in the order of paths.
pub(super) fn in_order(a: &Node, b: &Node) -> std::cmp::Ordering {
    a.root.cmp(&b.root).then_with(|| path_order(&a.path, &b.path))
}

/// Drops directories that were entered only to look for matches, where none was found.
fn drop_empty_ways(nodes: &mut Vec<Node>, ways: &HashSet<(u32, Box<[u8]>)>) {
    let is_way = |node: &Node| ways.contains(&(node.root, node.path.clone()));
    let mut keep = vec![true; nodes.len()];
    let mut next_kept: Option<usize> = None;
    for i in (0..nodes.len()).rev() {
        if is_way(&nodes[i]) {
            let is_used = next_kept.is_some_and(|next| {
                let below = nodes[next].path.strip_prefix(&nodes[i].path[..]);
                nodes[next].root == nodes[i].root && below.is_some_and(|rest| rest.first() == Some(&b'/'))
            });
            keep[i] = is_used;
        }
        if keep[i] {
            next_kept = Some(i);
        }
    }
    let mut keep = keep.iter();
    nodes.retain(|_| keep.next().copied().unwrap_or(true));
}
