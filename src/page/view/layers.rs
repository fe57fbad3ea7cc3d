//! Places what follows something else in layers, from left to right, so that few lines cross. Pure, and the same for the same input.

use std::collections::BTreeSet;

/// How often the order within the layers is improved.
const SWEEPS: usize = 4;

/// Nodes by number, each with what it follows.
pub type Before = Vec<BTreeSet<usize>>;

/// The nodes of each layer from the top, and the lines between them: those that follow from others are left out.
pub struct Layers {
    pub layers: Vec<Vec<usize>>,
    pub before: Before,
}

/// The layers. What follows itself through others loses a line.
pub fn layers(before: &Before) -> Layers {
    let (sequence, before) = in_sequence(before);
    let before = reduced(&sequence, &before);
    let mut layer_of = vec![0_usize; before.len()];
    for &node in &sequence {
        layer_of[node] = before[node].iter().map(|&one| layer_of[one] + 1).max().unwrap_or_default();
    }
    let after = reversed(&before);
    // What follows nothing stands right before what follows it.
    for node in (0..before.len()).filter(|&node| before[node].is_empty()) {
        let next = after[node].iter().map(|&one| layer_of[one]).min();
        layer_of[node] = next.map_or(0, |next| next.saturating_sub(1));
    }
    let count = layer_of.iter().max().map_or(0, |last| last + 1);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (node, &layer) in layer_of.iter().enumerate() {
        layers[layer].push(node);
    }
    for sweep in 0..SWEEPS {
        if sweep % 2 == 0 {
            (1..count).for_each(|layer| arrange(&mut layers, layer, &before));
        } else {
            (0..count.saturating_sub(1)).rev().for_each(|layer| arrange(&mut layers, layer, &after));
        }
    }
    Layers { layers, before }
}

/// The nodes in an order in which each comes after what it follows, and the lines without circles.
fn in_sequence(before: &Before) -> (Vec<usize>, Before) {
    let mut before: Before = before.clone();
    for (node, of_node) in before.iter_mut().enumerate() {
        of_node.remove(&node);
    }
    let (mut sequence, mut placed) = (Vec::new(), BTreeSet::new());
    let mut left: BTreeSet<usize> = (0..before.len()).collect();
    while let Some(&first) = left.first() {
        let is_next = |node: &&usize| before[**node].is_subset(&placed);
        let next = left.iter().find(is_next).copied();
        if next.is_none() {
            before[first].retain(|one| placed.contains(one));
        }
        let next = next.unwrap_or(first);
        left.remove(&next);
        placed.insert(next);
        sequence.push(next);
    }
    (sequence, before)
}

/// Without the lines that follow from others.
fn reduced(sequence: &[usize], before: &Before) -> Before {
    let mut all: Before = vec![BTreeSet::new(); before.len()];
    for &node in sequence {
        let of_node = before[node].iter().flat_map(|&one| all[one].iter().copied().chain([one])).collect();
        all[node] = of_node;
    }
    let is_direct = |node: usize, one: usize| !before[node].iter().any(|&other| all[other].contains(&one));
    (0..before.len()).map(|node| before[node].iter().copied().filter(|&one| is_direct(node, one)).collect()).collect()
}

fn reversed(before: &Before) -> Before {
    let mut after: Before = vec![BTreeSet::new(); before.len()];
    for (node, of_node) in before.iter().enumerate() {
        for &one in of_node {
            after[one].insert(node);
        }
    }
    after
}

/// Orders a layer by the middle of what its nodes have lines to.
fn arrange(layers: &mut [Vec<usize>], layer: usize, lines: &Before) {
    let mut height = vec![0.0; lines.len()];
    for of_layer in layers.iter() {
        for (row, &node) in of_layer.iter().enumerate() {
            height[node] = middle(row, of_layer.len());
        }
    }
    let wanted = |node: usize| {
        let lines = &lines[node];
        if lines.is_empty() {
            height[node]
        } else {
            lines.iter().map(|&one| height[one]).sum::<f64>() / count(lines.len())
        }
    };
    layers[layer].sort_by(|&a, &b| wanted(a).total_cmp(&wanted(b)));
}

/// How far a row is below the middle of its layer.
fn middle(row: usize, rows: usize) -> f64 {
    count(row) - (count(rows) - 1.0) / 2.0
}

/// Numbers of nodes are small.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(of: &[&[usize]]) -> Before {
        of.iter().map(|one| one.iter().copied().collect()).collect()
    }

    fn of(before: &[&[usize]]) -> Layers {
        layers(&sets(before))
    }

    #[test]
    fn each_node_is_right_of_what_it_follows() {
        // 0 -> 1 -> 3 -> 4, 0 -> 2 -> 3, and 5, which only 4 follows.
        let found = of(&[&[], &[0], &[0], &[0, 1, 2], &[3, 0, 5], &[]]);
        assert_eq!(found.layers, [vec![0], vec![1, 2], vec![3, 5], vec![4]]);
        // The lines from 0 to 3 and 4 follow from others.
        assert_eq!(found.before, sets(&[&[], &[0], &[0], &[1, 2], &[3, 5], &[]]));
    }

    #[test]
    fn circle_ends() {
        let found = of(&[&[1], &[0], &[2]]);
        assert_eq!(found.layers.iter().map(Vec::len).sum::<usize>(), 3);
        assert_eq!(found.before, sets(&[&[], &[0], &[]]));
        assert!(of(&[]).layers.is_empty());
    }

    #[test]
    fn lines_do_not_cross_where_they_need_not() {
        let found = of(&[&[], &[], &[1], &[0]]);
        assert_eq!(found.layers, [vec![0, 1], vec![3, 2]]);
    }
}
