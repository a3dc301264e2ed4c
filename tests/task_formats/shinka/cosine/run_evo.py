from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.database import DatabaseConfig
from shinka.launch import LocalJobConfig

search_task_sys_msg = """Approximate the cosine on [-1.5, 1.5] without any library."""

job_config = LocalJobConfig(eval_program_path="evaluate.py", time="00:01:30")
db_config = DatabaseConfig(num_islands=2, archive_size=8)
evo_config = EvolutionConfig(
    task_sys_msg=search_task_sys_msg,
    num_generations=30,
    llm_models=["small-model"],
    llm_kwargs={"temperatures": [0.0], "max_tokens": 1024},
    init_program_path="initial.py",
)

if __name__ == "__main__":
    ShinkaEvolveRunner(evo_config=evo_config, job_config=job_config, db_config=db_config).run()
