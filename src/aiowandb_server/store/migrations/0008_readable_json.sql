-- Texts of JSON that SQLite cannot read, or from which it reads what is no text: one of them would
-- break every filter and order over its project.
UPDATE run SET config = without_halves(config), finite_config = readable_json(config)
    WHERE config LIKE '%\ud%' OR NOT json_valid(ifnull(finite_config, config));
UPDATE run SET summary = without_halves(summary), finite_summary = readable_json(summary)
    WHERE summary LIKE '%\ud%' OR NOT json_valid(ifnull(finite_summary, summary));
