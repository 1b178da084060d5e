//! From what was found to a tree: in order, roots told apart, hard links recognised.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::tree::{Node, NodeKind, Tree, TreeRoot};
use super::walk::FoundNodes;
use crate::archive::index::path_order;

/// Sorts the nodes, gives them to their roots, and finds hard links.
pub(super) fn arrange(mut roots: Vec<TreeRoot>, found: FoundNodes) -> Tree {
    let FoundNodes { mut nodes, ways, mut skipped } = found;
    // The stable sort knows sorted runs when it sees them.
    nodes.sort_by(in_order);
    // A name that is replaced while its directory is listed may be listed twice.
    nodes.dedup_by(|next, kept| order(kept, next).is_eq());
    if !ways.is_empty() {
        drop_empty_ways(&mut nodes, &ways);
    }
    find_links(&mut nodes);
    let mut start = 0;
    for (number, root) in (0u32..).zip(&mut roots) {
        let count = nodes[start..].partition_point(|node| node.root == number);
        root.nodes = start..start + count;
        start += count;
    }
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    skipped.dedup();
    Tree { roots, nodes, skipped }
}

/// Root by root, each in the order of paths; of a name listed twice, the node that stays comes first.
pub(super) fn in_order(a: &Node, b: &Node) -> Ordering {
    order(a, b).then_with(|| rank(b).cmp(&rank(a)))
}

fn order(a: &Node, b: &Node) -> Ordering {
    a.root.cmp(&b.root).then_with(|| path_order(&a.path, &b.path))
}

/// Which node of a name listed twice stays: a directory, as what is in it has no other parent; else the last changed.
fn rank(node: &Node) -> (bool, i64) {
    (matches!(node.kind, NodeKind::Directory(_)), node.stat.ctime_nanos)
}

/// Makes links of the later names of a file. A number of a file is used again as soon as the file is gone, maybe while
/// the scan goes on: only what also has other names, and is the same in all that any change would change, is the same
/// file.
fn find_links(nodes: &mut [Node]) {
    let mut first_names = HashMap::new();
    for (number, node) in (0u32..).zip(nodes) {
        if node.kind != NodeKind::File || !node.is_linked {
            continue;
        }
        match first_names.entry(node.stat.version()) {
            Entry::Vacant(vacant) => {
                vacant.insert(number);
            }
            Entry::Occupied(first) => node.kind = NodeKind::HardLink(*first.get()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::Metadata;
    use crate::scan::attributes::Signature;

    fn file(path: &str, stat: Signature) -> Node {
        Node { root: 0, path: path.as_bytes().into(), stat, is_linked: true, meta: Metadata::default(), kind: File }
    }

    fn arranged(nodes: Vec<Node>) -> Vec<Node> {
        arrange(Vec::new(), FoundNodes { nodes, ..FoundNodes::default() }).nodes
    }

    use NodeKind::{Directory, File, HardLink};

    const STAT: Signature =
        Signature { device: 1, inode: 2, size: 3, mtime_nanos: 4_000_000_000, ctime_nanos: 5_000_000_000, blocks: 8 };

    #[track_caller]
    fn check_kinds(nodes: Vec<Node>, expected: &[(&str, NodeKind)]) {
        let nodes = arranged(nodes);
        let found: Vec<_> = nodes.iter().map(|node| (str::from_utf8(&node.path).unwrap(), &node.kind)).collect();
        assert_eq!(found, expected.iter().map(|(path, kind)| (*path, kind)).collect::<Vec<_>>());
    }

    #[test]
    fn later_names_of_a_file_are_links_to_the_first() {
        let delayed = Signature { blocks: 0, ..STAT };
        let nodes = vec![file("c", STAT), file("a", STAT), file("b", delayed)];
        check_kinds(nodes, &[("a", File), ("b", HardLink(0)), ("c", HardLink(0))]);
    }

    #[test]
    fn a_file_that_got_the_number_of_another_one_is_a_file_of_its_own() {
        let others = [
            Signature { size: 4, ..STAT },
            Signature { mtime_nanos: 5, ..STAT },
            Signature { ctime_nanos: 6_000_000_000, ..STAT },
            Signature { device: 2, ..STAT },
        ];
        for other in others {
            let nodes = vec![file("a", STAT), file("b", other), file("c", STAT), file("d", other)];
            check_kinds(nodes, &[("a", File), ("b", File), ("c", HardLink(0)), ("d", HardLink(1))]);
        }
        // Whatever its times are: it has no other name.
        let alone = Node { is_linked: false, ..file("b", STAT) };
        check_kinds(vec![file("a", STAT), alone], &[("a", File), ("b", File)]);
    }

    #[test]
    fn a_name_that_was_listed_twice_is_one_node() {
        let newer = Signature { inode: 7, ctime_nanos: 9_000_000_000, ..STAT };
        for nodes in [[STAT, newer], [newer, STAT]] {
            let nodes = arranged(nodes.map(|stat| file("a", stat)).into());
            assert_eq!(nodes.iter().map(|node| node.stat).collect::<Vec<_>>(), [newer]);
        }
        let directory = || Node { kind: Directory(Vec::new()), ..file("a", STAT) };
        check_kinds(
            vec![file("a", newer), file("a/b", STAT), directory(), file("a/b", STAT)],
            &[("a", Directory(Vec::new())), ("a/b", File)],
        );
    }
}
