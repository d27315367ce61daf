"""Random sequences of what is done to prompts, on the product and on a model that is written from the rules.

* sequences     - writes a sequence of steps from a seed
* contents      - what the prompts of a sequence say, and what their policies ask for

The model, without the product's code:

* rulings       - which evaluations let a content through
* state         - versions, records, experiments and words of a prompt
* model         - the registry as its promises describe it
* worker        - a serving process
* expected      - what must come of a step: the registry, two workers and the weather

The product:

* world         - people, machines and intruders do the step
* measured      - what an evaluation leaves
* experimenters - who starts and stops experiments, and who edits their rows
* processes     - the serving processes
* door          - the ways to MLflow: through the front door, and past it

Both:

* comparison    - does a sequence step by step in both and compares; on the fake MLflow
* proofs        - asks the tables directly whether what serves may
* server        - the same on a running MLflow
"""
