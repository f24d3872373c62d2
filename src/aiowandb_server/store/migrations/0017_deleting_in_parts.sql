-- A project whose name begins with a slash is being deleted, with all that is in it; the names that
-- clients can choose have none.

-- SQLite looks for what refers to a deleted row in all of a table, also in what belongs to others,
-- unless there is an index.
CREATE INDEX member_by_user ON member (user_id);
CREATE INDEX alert_by_run ON alert (run_id);
CREATE INDEX agent_by_sweep ON agent (sweep_id);
CREATE INDEX assignment_by_agent ON assignment (agent_id);
CREATE INDEX collection_by_type ON collection (type_id);
CREATE INDEX alias_by_membership ON alias (membership_id);
CREATE INDEX manifest_by_base ON manifest (base_id) WHERE base_id IS NOT NULL;
CREATE INDEX artifact_use_by_artifact ON artifact_use (artifact_id, direction);
CREATE INDEX artifact_client_by_artifact ON artifact_client (artifact_id);
