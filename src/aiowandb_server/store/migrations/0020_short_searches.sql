-- What each new artifact version and each heartbeat of an agent looks for, while all other writers
-- wait: without these, it is looked for among all versions of a collection, or all runs of a sweep.
CREATE INDEX artifact_by_distributed_id ON artifact (collection_id, distributed_id)
    WHERE distributed_id IS NOT NULL;
CREATE INDEX run_pending ON run (project_id, sweep) WHERE state = 'pending' AND sweep IS NOT NULL;
