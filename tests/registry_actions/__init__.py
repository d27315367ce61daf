"""Random sequences of what is done to prompts, on the product and on a model that is written from the rules.

* sequences  - writes a sequence of steps from a seed
* contents   - what the prompts of a sequence say, and what their policies ask for
* model      - the registry as its promises describe it, without the product's code
* worker     - a serving process as the rules want it
* expected   - what must come of a step: registry, two workers and the weather
* world      - the same step done with the product
* door       - the world's ways to MLflow: through the front door, and past it
* processes  - the world's serving processes
* comparison - does both step by step and compares; on the fake MLflow
* server     - the same on a running MLflow
"""
