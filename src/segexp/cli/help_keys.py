"""The keys of each command for its help page, which must not import the models. Written by `make schema`."""

KEYS = {
    "train": """
  seed=0                       random seed of split, weights, order and augmentation
  trainer.gpus=auto            auto: a GPU if there is one | 0: the CPU | a count | a list of ids
  trainer.precision=auto       auto: 16-bit where the hardware is fast at it | 32 | bf16-mixed | 16-mixed
  trainer.max_epochs=100       null: only minutes limits the training
  trainer.minutes=null         time budget; the schedule is scaled to it, and max_epochs is ignored
  trainer.early_stopping=null  patience: validations without a better score
  data.batch_size=8            auto: the largest that fits into memory, found by training steps
  data.size=null               working resolution: longest side, [h, w], a factor, or null for native
  data.crop=null               training crop in working pixels: a side, [h, w], or null for whole images
  deep_supervision=null        true: equal weights for all heads | a list: relative loss weights of the heads,
                               finest first
  run_dir=null                 by default runs/<data>/<model>/<date_time>
  study=null                   name of the folder of a study (-m); by default made of what is swept
""",
    "check": """
  seed=0        random seed of the split, as in training
  output=null   output folder of check.html; by default checks/<data name>
  fit=false     true: overfit four training images in under two minutes, with model, loss, optimizer and
                trainer as in training
  runs=null     a cross-validation study, or runs: rank possibly wrong masks by the disagreement of networks
                that were not trained on them, in label_errors.csv
  trust=[]      packages of your own whose networks may be built from these runs; true: all
  propose=null  true writes DIR/data/NAME.yaml, for segexp.train --config-dir DIR data=NAME; by default for
                data=auto
""",
    "predict": """
  checkpoint=???                      a run directory (its best weights), a .ckpt or exported file, a study
                                      (all its runs), or a list: an ensemble
  input=???                           a folder of images at any depth, a file, or a list of them
  output=???                          the folder of the masks, or a list with one for each input
  model.prune_to=null                 of a unetpp with deep supervision: the level, 1 or more, that it is
                                      pruned to; less accurate, faster
  suffix=""                           suffix of mask file names
  overlay=false                       the image with the mask over it
  probabilities=false                 npz or tiff (true: npz): float16, (classes, height, width)
  labels=false                        additional mask of class indices (bit sets for overlapping classes)
  panel=false                         input, truth if it is known, prediction side by side
  truth=null                          for the panel: the folder of the true masks, or "DIR/{id}_mask.png",
                                      with {class} in it where classes may overlap; null: those beside the
                                      images
  uncertainty=false                   a map with a colour bar, and its values as npz
  tta=none                            flips (4 views) or dihedral (8)
  postprocess.start=stored            base of the other keys
  postprocess.threshold=null          minimum foreground probability, for two classes
  postprocess.min_area=null           smaller components (in pixels) are removed
  postprocess.largest_component=null  keep only the largest component of each class
  postprocess.fill_holes=null         fill holes enclosed by a single class
  max_pixels=null                     larger images are predicted in windows; null: as trained, 0: never
  gpus=auto                           auto: a GPU if there is one | 0: the CPU | a count
  overwrite=false                     true predicts also what is there already; else images whose outputs are
                                      all there are skipped
  check=true                          refuse a folder of masks given as images
  trust=[]                            packages of your own whose networks may be built; true: all, and any
                                      code in a .pt2 or .pt file
""",
    "evaluate": """
  checkpoint=???       a run directory (its best weights), a .ckpt or exported file; several or a study: an
                       ensemble
  model.prune_to=null  of a unetpp with deep supervision: the level, 1 or more, that it is pruned to; less
                       accurate, faster
  split=null           val, test or train; all for every case; null: val and test as in training, all for
                       other data
  data={}              keys of the data section that differ: data.root=DIR; everything else as in training
  metrics=null         null: those of the run; default, lesion, membrane or none in their place
  postprocess=stored   none: without the post-processing stored in the checkpoint
  tune=null            postprocess: choose threshold, components and holes on val; store them in the
                       checkpoint if the gain is beyond doubt
  gpus=auto            auto: a GPU if there is one | 0: the CPU | a count
  pictures=4           cases in the panel
  output=null          where to write scores, cases, pictures and report.html (with tune: tuning.csv); null
                       prints only
  trust=[]             packages of your own whose networks may be built; true: all, and any code in a .pt2 or
                       .pt file
""",
    "compare": """
  runs=[]                     directories of runs and studies; typed without the key
  metric=dice                 dice, iou, precision, recall, accuracy, any column of cases.csv; of a class:
                              dice/liver
  split=null                  val, test, train or all; null: test where every run has it, else val
  better=null                 high or low; null: from the score
  reference=null              baseline of the comparison: a run, or a name from the table; null: the best
  seeds=together              runs that differ only in the seed are one row; separate
  allow_different_data=false  true: compare even if cases or splits differ
  skip_unfinished=false       true: skip unfinished runs, even if a fold is then missing
  output=null                 a folder for compare.csv, .md, .tex and .html, or one such file; null prints
                              only
""",
    "explain": """
  checkpoint=???       a run directory (its best weights) or a .ckpt file
  input=???            a folder of images at any depth, a file, or a list of them
  output=???           the folder of the heat maps, or a list with one for each input
  model.prune_to=null  of a unetpp with deep supervision: the level, 1 or more, that it is pruned to; less
                       accurate, faster
  method=seg_gradcam   gradcam | gradcam++ | seg_gradcam | integrated_gradients | occlusion
  target=null          a class, by name or index; null: the first foreground class
  layer=auto           layer of Grad-CAM: dotted name of a module; auto: the deepest one of the encoder
  region=null          pixels to explain: predicted (as the class) | truth | box; null: predicted, or the box.
                       gradcam and gradcam++ use all pixels; their maps are only compared with the region
  box=null             [top, left, bottom, right] in image pixels; bottom and right are exclusive
  truth=null           the folder of the true masks, or "DIR/{id}_mask.png"; null: those beside the images
  steps=32             integration steps of integrated_gradients
  window=null          side of the square of occlusion, in pixels at working size; null: an eighth of the
                       longer side
  values=false         the map as npz
  max_pixels=null      larger images are refused, as they need a single pass; null: as trained, 0: no limit
  gpus=auto            auto: a GPU if there is one | 0: the CPU | a count
  overwrite=false      true explains also what is there already; else images whose outputs are all there are
                       skipped
  check=true           refuse a folder of masks given as images
  trust=[]             packages of your own whose networks may be built; true: all
""",
    "export": """
  checkpoint=???               a run directory (its best weights) or a .ckpt file
  output=???                   the file: NAME.onnx, NAME.pt2, NAME.pt or NAME.xml
  format=onnx                  onnx, torch_export (.pt2), torchscript (.pt) or openvino (.xml)
  model.prune_to=null          of a unetpp with deep supervision: the level, 1 or more, that it is pruned to;
                               less accurate, faster
  include_preprocessing=false  true: images (batch, height, width, channels) uint8 in; resizing and
                               normalisation inside
  returns=probabilities        or classes: output with include_preprocessing=true; otherwise logits
  precision=fp32               bf16, fp16 or int8: kept only if Dice falls by at most 0.01 and it is faster
                               than fp32 here
  accept=false                 keep the reduced-precision file even if it fails these criteria
  calibration=32               number of training images for int8 calibration
  opset=20                     ONNX opset
  data={}                      keys of the data section that differ: data.root=DIR, where the images are now
  trust=[]                     packages of your own whose networks may be built; true: all
""",
}
