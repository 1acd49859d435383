//! Rewritings of an application's operators before they become a topology, as in Kafka Streams'
//! `InternalStreamsBuilder`, so that the same program has the same topics.

use super::graph::{Graph, GraphId};

/// An operator, and the repartition topics that can be moved right behind it.
type Movable = (GraphId, Vec<GraphId>);

fn ids(graph: &Graph) -> impl Iterator<Item = GraphId> + use<> {
    (0..graph.operators.len()).map(GraphId)
}

/// Walks up from `from` to an operator for which `wanted` is true.
///
/// Of several parents the search above the last one counts, whatever it finds above the others.
fn above(graph: &Graph, from: GraphId, wanted: &dyn Fn(GraphId) -> bool) -> Option<GraphId> {
    if wanted(from) {
        return Some(from);
    }
    let mut found = None;
    for parent in &graph.operators[from.0].parents {
        if wanted(*parent) {
            return Some(*parent);
        }
        found = above(graph, *parent, wanted);
    }
    found
}

/// Walks up from `from` to the operator right below `parent`.
fn right_below(graph: &Graph, from: GraphId, parent: GraphId) -> Option<GraphId> {
    above(graph, from, &|id| graph.operators[id.0].parents.contains(&parent))
}

/// Several repartition topics below an operator that changes keys become one, right below it
/// (`merge.repartition.topics`). It has the name and serdes of the first one. Those below an
/// operator that changes values, and those that the user asked for, stay where they are.
pub(super) fn merge_repartition_topics(graph: &mut Graph) {
    for (changer, topics) in movable(graph) {
        let Some(first) = topics.first() else { continue };
        let Some(again) = graph.operators[first.0].traits.again.take() else { continue };
        let merged = again(graph, changer);
        graph.disconnect(changer, merged);
        for topic in topics {
            match right_below(graph, topic, changer) {
                Some(top) => {
                    graph.connect(merged, top);
                    graph.disconnect(changer, top);
                }
                // it went with another topic that is below the same operator
                None if right_below(graph, topic, merged).is_some() => {}
                None => continue,
            }
            let parents = graph.operators[topic.0].parents.clone();
            for child in graph.operators[topic.0].children.clone() {
                graph.disconnect(topic, child);
                parents.iter().for_each(|parent| graph.connect(*parent, child));
            }
            parents.iter().for_each(|parent| graph.disconnect(*parent, topic));
        }
        graph.connect(changer, merged);
        // written before what reads from it
        graph.operators[merged.0].priority = graph.operators[changer.0].priority;
    }
}

/// Finds the operators that change keys, in the order of the calls, with the repartition topics
/// below them. A merge of streams stands for the operators above it if the topics are below both.
fn movable(graph: &Graph) -> Vec<Movable> {
    let traits = |id: GraphId| &graph.operators[id.0].traits;
    let changers = ids(graph).filter(|id| traits(*id).changes_key);
    let mut movable: Vec<Movable> = changers.map(|id| (id, Vec::new())).collect();
    for topic in ids(graph).filter(|id| traits(*id).again.is_some()) {
        let changes = |id: GraphId| traits(id).changes_key || traits(id).changes_value;
        let any = above(graph, topic, &changes);
        let changer = above(graph, topic, &|id| traits(id).changes_key);
        if let Some(changer) = changer.filter(|_| any == changer)
            && let Some((_, topics)) = movable.iter_mut().find(|(id, _)| *id == changer)
        {
            topics.push(topic);
        }
    }
    let mut replaced: Vec<GraphId> = Vec::new();
    let mut merged: Vec<Movable> = Vec::new();
    for merge in ids(graph).filter(|id| traits(*id).merges) {
        let mut topics = Vec::new();
        for (changer, below) in &movable {
            let all_below = below.iter().all(|topic| right_below(graph, *topic, merge).is_some());
            if all_below && right_below(graph, merge, *changer).is_some() {
                replaced.push(*changer);
                // each topic has one operator above it that changes keys
                topics.extend(below);
            }
        }
        merged.push((merge, topics));
    }
    movable.retain(|(changer, _)| !replaced.contains(changer));
    movable.extend(merged);
    movable
}
